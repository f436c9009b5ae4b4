//! Prints the frames that the agent's decoder finds, to compare other decoders with it.
//!
//! Standard input: inputs, each after its length as four bytes, the lowest first. Standard output:
//! a line of JSON for each. It contains the frames, each as `[[id, method, params], payload]`, with
//! `null` for missing values and the payload in hexadecimal; a batch is `"batch"`. The last element
//! is `"end"` or `"damaged"`.

use std::io::{self, BufWriter, Read, Write};

use s3_backup_agent::session::frame::{Frame, Input, Message, Reader};
use serde::Serialize;
use serde_json::value::RawValue;

fn main() -> io::Result<()> {
    let mut inputs = io::stdin().lock();
    let mut verdicts = BufWriter::new(io::stdout().lock());
    let mut length = [0; 4];
    while inputs.read_exact(&mut length).is_ok() {
        let mut input = Vec::new();
        inputs.by_ref().take(u32::from_le_bytes(length).into()).read_to_end(&mut input)?;
        serde_json::to_writer(&mut verdicts, &verdict(&input))?;
        verdicts.write_all(b"\n")?;
        // The test waits for each line.
        verdicts.flush()?;
    }
    Ok(())
}

#[derive(Serialize)]
#[serde(untagged)]
enum Found {
    Frame([Option<Box<RawValue>>; 3], Option<String>),
    Word(&'static str),
}

fn verdict(input: &[u8]) -> Vec<Found> {
    let mut reader = Reader::new(input);
    let mut found = Vec::new();
    loop {
        let (next, last) = match reader.read() {
            Input::Frame(Frame { message: Message { id, method, params, .. }, payload }) => {
                let payload =
                    payload.map(|pieces| hexadecimal(&pieces.unwrap_or_default().concat()));
                (Found::Frame([id, method, params], payload), false)
            }
            Input::Batch => (Found::Word("batch"), false),
            Input::End => (Found::Word("end"), true),
            Input::Broken(_) => (Found::Word("damaged"), true),
        };
        found.push(next);
        if last {
            return found;
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
