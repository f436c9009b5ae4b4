use std::collections::VecDeque;

use futures_util::{FutureExt as _, poll};

use super::*;

/// Gives these pieces, then the end.
struct Pieces {
    left: VecDeque<Result<Bytes>>,
    asked: usize,
    given: usize,
}

impl Pieces {
    fn new(pieces: impl IntoIterator<Item = Result<Bytes>>) -> Self {
        Self { left: pieces.into_iter().collect(), asked: 0, given: 0 }
    }

    /// This many full blocks.
    fn blocks(count: usize) -> Self {
        Self::new((0..count).map(|_| Ok(Bytes::from(vec![7; BLOCK]))))
    }
}

/// A source that the test can look at while the pump has it.
struct Shared<'a>(&'a std::sync::Mutex<Pieces>);

impl Source for Shared<'_> {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        let mut pieces = self.0.lock().unwrap();
        pieces.asked += 1;
        let piece = pieces.left.pop_front().transpose()?;
        pieces.given += piece.as_ref().map_or(0, Bytes::len);
        Ok(piece)
    }
}

fn branches(count: usize) -> (Vec<Branch>, Vec<Queue>) {
    (0..count).map(|_| branch()).unzip()
}

/// The next message of a branch. None if it has to wait; then the future is dropped.
fn take(branch: &mut Branch) -> Option<Result<Option<Bytes>>> {
    branch.next().now_or_never()
}

#[test]
fn fan_out_delivers_all_bytes_and_keeps_to_the_window() {
    let mut random = fastrand::Rng::with_seed(11);
    let content: Vec<u8> = (0..12 << 20).map(|_| random.u8(..)).collect();
    let content = Bytes::from(content);
    for largest in [1, 100, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK, 3 << 20] {
        // Many small pieces would take too long.
        let mut rest = content.slice(..content.len().min(largest * 500));
        let content = rest.clone();
        let mut pieces = Vec::new();
        while !rest.is_empty() {
            pieces.push(Ok(rest.split_to(random.usize(0..=largest).min(rest.len()))));
        }
        let source = std::sync::Mutex::new(Pieces::new(pieces));
        let (mut branches, queues) = branches(3);
        let mut shared = Shared(&source);
        let mut pump = Box::pin(pump(&mut shared, queues));
        let mut received = vec![Vec::new(); branches.len()];
        let mut ended = vec![false; branches.len()];
        let mut has_ended = false;
        let mut fullest = 0;
        while !has_ended || ended.contains(&false) {
            // One of them seldom gets its turn.
            let turn = random.usize(0..40);
            if turn >= 25 {
                has_ended = has_ended || pump.as_mut().now_or_never().is_some();
            } else if let index = [0, 1, 2][turn / 12]
                && !ended[index]
            {
                match take(&mut branches[index]) {
                    Some(Ok(Some(bytes))) => received[index].extend_from_slice(&bytes),
                    Some(Ok(None)) => ended[index] = true,
                    Some(Err(error)) => panic!("{error}"),
                    None => {}
                }
            }
            let least = received.iter().map(Vec::len).min().unwrap();
            let waiting = source.lock().unwrap().given - least;
            fullest = fullest.max(waiting);
            // The source gives the first bytes of a large piece together with the rest.
            assert!(waiting <= WAITING * BLOCK + largest.saturating_sub(BLOCK), "{waiting}");
        }
        assert!(received.iter().all(|it| *it == content), "pieces up to {largest}");
        if largest >= BLOCK {
            assert!(fullest > WAITING * BLOCK / 2, "the window was never used: {fullest}");
        }
    }
}

#[test]
fn fan_out_opens_source_when_every_target_is_ready_or_gone() {
    let source = std::sync::Mutex::new(Pieces::blocks(3));
    let (mut branches, queues) = branches(3);
    let mut shared = Shared(&source);
    let mut pump = Box::pin(pump(&mut shared, queues));
    let mut asked = || {
        let _ = pump.as_mut().now_or_never();
        source.lock().unwrap().asked
    };
    assert_eq!(asked(), 0);
    assert!(take(&mut branches[0]).is_none());
    assert_eq!(asked(), 0);
    // It failed before it was ready.
    drop(branches.remove(1));
    assert_eq!(asked(), 0);
    assert!(take(&mut branches[1]).is_none());
    assert!(asked() > 0);
    for branch in &mut branches {
        assert_eq!(take(branch).unwrap().unwrap().unwrap().len(), BLOCK);
    }
}

#[test]
fn fan_out_without_any_target_left_never_opens_source() {
    let source = std::sync::Mutex::new(Pieces::blocks(3));
    let (branches, queues) = branches(2);
    drop(branches);
    pump(&mut Shared(&source), queues).now_or_never().unwrap();
    assert_eq!(source.lock().unwrap().asked, 0);
}

#[test]
fn failed_target_does_not_hold_up_the_others() {
    let source = std::sync::Mutex::new(Pieces::blocks(WAITING * 3));
    let (mut branches, queues) = branches(2);
    let mut shared = Shared(&source);
    let mut pump = Box::pin(pump(&mut shared, queues));
    let mut slow = branches.pop().unwrap();
    let mut fast = branches.pop().unwrap();
    assert!(take(&mut slow).is_none() && take(&mut fast).is_none());
    let mut received = 0;
    loop {
        let _ = pump.as_mut().now_or_never();
        let Some(piece) = take(&mut fast) else { break };
        received += piece.unwrap().unwrap().len();
    }
    assert_eq!(received, WAITING * BLOCK);
    drop(slow);
    let mut has_ended = false;
    loop {
        has_ended = has_ended || pump.as_mut().now_or_never().is_some();
        match take(&mut fast).unwrap().unwrap() {
            Some(bytes) => received += bytes.len(),
            None => break,
        }
    }
    assert_eq!(received, WAITING * 3 * BLOCK);
    assert!(has_ended);
}

#[test]
fn source_is_not_read_after_the_last_target_failed() {
    let source = std::sync::Mutex::new(Pieces::blocks(WAITING * 3));
    let (mut branches, queues) = branches(2);
    let mut shared = Shared(&source);
    let mut pump = Box::pin(pump(&mut shared, queues));
    assert!(branches.iter_mut().all(|branch| take(branch).is_none()));
    // One has room, the other has not.
    assert!(pump.as_mut().now_or_never().is_none());
    take(&mut branches[0]).unwrap().unwrap();
    assert!(pump.as_mut().now_or_never().is_none());
    let asked = source.lock().unwrap().asked;
    assert_eq!(asked, WAITING);
    drop(branches);
    pump.now_or_never().unwrap();
    assert_eq!(source.lock().unwrap().asked, asked);
}

#[tokio::test]
async fn source_that_waits_ends_with_the_last_target() {
    /// Never has anything.
    struct Silent;
    impl Source for Silent {
        async fn next(&mut self) -> Result<Option<Bytes>> {
            std::future::pending().await
        }
    }
    let (mut branches, queues) = branches(2);
    let mut silent = Silent;
    let mut pump = Box::pin(pump(&mut silent, queues));
    assert!(branches.iter_mut().all(|branch| take(branch).is_none()));
    assert!(poll!(pump.as_mut()).is_pending());
    branches.pop();
    assert!(poll!(pump.as_mut()).is_pending());
    drop(branches);
    pump.now_or_never().unwrap();
}

#[test]
fn source_error_reaches_every_target_after_the_bytes() {
    let error = Error::new(Code::SourceFailed, "the program failed").detail("exit_code", 3_i64);
    let source =
        std::sync::Mutex::new(Pieces::new([Ok(Bytes::from_static(b"bytes")), Err(error.clone())]));
    let (mut branches, queues) = branches(3);
    let mut shared = Shared(&source);
    let mut pump = Box::pin(pump(&mut shared, queues));
    assert!(branches.iter_mut().all(|branch| take(branch).is_none()));
    // It is gone before the error.
    branches.pop();
    assert!(pump.as_mut().now_or_never().is_some());
    for branch in &mut branches {
        assert_eq!(take(branch).unwrap().unwrap().unwrap(), "bytes");
        let got = take(branch).unwrap().unwrap_err();
        assert_eq!((got.code(), got.message()), (error.code(), error.message()));
    }
}

#[test]
fn queue_that_closes_without_an_end_is_an_error() {
    let (mut branch, queue) = branch();
    queue.pieces.try_send(Piece::Data(Bytes::from_static(b"bytes"))).unwrap();
    drop(queue);
    assert_eq!(take(&mut branch).unwrap().unwrap().unwrap(), "bytes");
    assert_eq!(take(&mut branch).unwrap().unwrap_err().code(), Code::Internal);
}
