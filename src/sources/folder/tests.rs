//! Realistic folders, unpacked again by GNU tar and by Python.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, Timespec, Timestamps};
use serde_json::{Value, json};

use super::*;

/// Compares two folders: names, kinds, permissions, times, contents and link targets, all as bytes.
/// The times of links may differ, because programs need not restore them.
const COMPARE: &str = r#"
import os, sys
def tree(top):
    found = {}
    for folder, folders, files in os.walk(top):
        for name in [b"."] + folders + files:
            path = os.path.join(folder, name)
            stat = os.lstat(path)
            link = os.readlink(path) if os.path.islink(path) else None
            content = open(path, "rb").read() if link is None and os.path.isfile(path) else None
            time = None if link else stat.st_mtime_ns // 10**9
            found[os.path.relpath(path, top)] = (stat.st_mode, time, link, content)
    return found
one, other = tree(os.fsencode(sys.argv[1])), tree(os.fsencode(sys.argv[2]))
different = [name for name in one.keys() | other.keys() if one.get(name) != other.get(name)]
assert len(one) > 1 and not different, [(name, one.get(name), other.get(name)) for name in different]
"#;

const UNPACK: &str = "import sys, tarfile\ntarfile.open(sys.argv[1]).extractall(sys.argv[2])";

struct Case {
    home: tempfile::TempDir,
    folder: PathBuf,
}

impl Case {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("folder");
        fs::create_dir(&folder).unwrap();
        Self { home, folder }
    }

    fn path(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.folder.join(name.as_ref())
    }

    /// Packs the folder into a file beside it; returns what was left out.
    fn pack(&self) -> Value {
        self.pack_into(Vec::new(), |tar| tar)
    }

    fn pack_into<W: Write>(&self, mut out: W, content: impl FnOnce(W) -> Vec<u8>) -> Value {
        let left_out = pack(&self.folder, &mut out).unwrap();
        fs::write(self.home.path().join("tar"), content(out)).unwrap();
        serde_json::to_value(left_out).unwrap()
    }

    /// Unpacks with both programs, which must print nothing. Returns the folders.
    fn unpack(&self) -> [PathBuf; 2] {
        let tar = self.home.path().join("tar");
        ["gnu", "python"].map(|program| {
            let back = self.home.path().join(program);
            fs::create_dir(&back).unwrap();
            let mut command = match program {
                // It prints a warning for each file that is very old or from the future.
                "gnu" => Command::new("tar"),
                _ => Command::new("python3"),
            };
            match program {
                "gnu" => command.args(["--warning=no-timestamp", "-xpf"]).arg(&tar).arg("-C"),
                _ => command.args(["-c", UNPACK]).arg(&tar),
            };
            run(command.arg(&back));
            back.join("folder")
        })
    }

    fn unpacks_equal(&self) {
        for back in self.unpack() {
            run(Command::new("python3").args(["-c", COMPARE]).arg(&self.folder).arg(back));
        }
    }
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let (stdout, stderr) = (output.stdout, String::from_utf8_lossy(&output.stderr).into_owned());
    assert!(output.status.success() && stderr.is_empty(), "{command:?}: {stderr}");
    String::from_utf8_lossy(&stdout).into_owned()
}

fn set_time(path: &Path, seconds: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: 500_000_000 };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn counts(left_out: &Value) -> [u64; 4] {
    ["vanished", "unreadable", "damaged", "special"].map(|name| left_out[name].as_u64().unwrap())
}

fn fifo(path: &Path) {
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn folder_with_unusual_times_unpacks_equal() {
    let case = Case::new();
    for (nth, time) in [0, 1, -1, -1_000_000_000, 1 << 32, 1 << 33].into_iter().enumerate() {
        let (file, folder, link) =
            (format!("file{nth}"), format!("folder{nth}"), format!("link{nth}"));
        fs::write(case.path(&file), file.as_bytes()).unwrap();
        fs::create_dir(case.path(&folder)).unwrap();
        symlink(&file, case.path(&link)).unwrap();
        for name in [&file, &folder, &link] {
            set_time(&case.path(name), time);
        }
    }
    set_time(&case.folder, -7);
    assert_eq!(counts(&case.pack()), [0; 4]);
    case.unpacks_equal();
}

#[test]
fn folder_with_unusual_names_and_links_unpacks_equal() {
    let case = Case::new();
    let names: &[&[u8]] = &[
        b"-rf",
        b" ",
        b"a\nb",
        b"a\\b",
        b"c:d",
        b"*",
        b"\xff\xfe",
        b"\x1b[31m",
        b"....",
        b"@LongLink",
    ];
    for name in names {
        fs::write(case.path(OsStr::from_bytes(name)), name).unwrap();
        let folder = [name, &b"-folder"[..]].concat();
        fs::create_dir(case.path(OsStr::from_bytes(&folder))).unwrap();
        fs::write(case.path(OsStr::from_bytes(&folder)).join("in it"), "x").unwrap();
    }
    // Around the lengths that fit into a header.
    for length in [80, 91, 92, 93, 94, 100, 101, 154, 155, 156, 255] {
        fs::write(case.path("f".repeat(length)), "x").unwrap();
        fs::create_dir(case.path("d".repeat(length))).unwrap();
        symlink("t".repeat(length), case.path("l".repeat(length))).unwrap();
    }
    let long = [&b"\xe9/"[..]; 2000].concat();
    let targets: &[&[u8]] = &[
        b"a//b",
        b"/",
        b"//",
        b"/a//b/",
        b"dir/",
        b"./",
        b".",
        b"..//..",
        b"./a/./b",
        b"\xff/\xfe",
        &long,
    ];
    for (nth, target) in targets.iter().enumerate() {
        symlink(OsStr::from_bytes(target), case.path(format!("odd{nth}"))).unwrap();
    }
    assert_eq!(counts(&case.pack()), [0; 4]);
    case.unpacks_equal();
}

#[test]
fn permissions_and_sizes_unpack_equal() {
    let case = Case::new();
    for size in [0, 1, 511, 512, 513, PIECE - 1, PIECE, PIECE + 1, 3 << 20] {
        fs::write(case.path(size.to_string()), vec![7; size]).unwrap();
    }
    for mode in [0o000, 0o400, 0o644, 0o755, 0o2750, 0o4711, 0o1777] {
        let file = case.path(format!("file{mode:o}"));
        fs::write(&file, "x").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    }
    let left_out = case.pack();
    if rustix::process::geteuid().is_root() {
        assert_eq!(counts(&left_out), [0; 4]);
        case.unpacks_equal();
    }
}

#[test]
fn sockets_and_pipes_are_skipped_and_counted() {
    let case = Case::new();
    fs::write(case.path("file"), "x").unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(case.path("socket")).unwrap();
    fifo(&case.path("pipe"));
    let left_out = case.pack();
    assert_eq!(counts(&left_out), [0, 0, 0, 2]);
    let names: Vec<_> =
        left_out["names"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert_eq!(names, ["folder/pipe", "folder/socket"]);
    for back in case.unpack() {
        assert_eq!(back.read_dir().unwrap().count(), 1);
    }
}

/// Creates nested folders, deeper than a path can be; opens the last one.
fn dig(top: &Path, name: &str, levels: usize) -> std::os::fd::OwnedFd {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = rustix::fs::open(top, flags, Mode::empty()).unwrap();
    for _ in 0..levels {
        rustix::fs::mkdirat(&at, name, Mode::RWXU).unwrap();
        at = rustix::fs::openat(&at, name, flags, Mode::empty()).unwrap();
    }
    at
}

#[test]
fn deep_folder_is_packed_as_deep_as_it_can_be_unpacked() {
    let list = "import sys, tarfile\nprint(*tarfile.open(sys.argv[1]).getnames(), sep='\\n')";
    for (name, levels, unpack) in [("d", 1_997, false), (&*"d".repeat(39), 99, true)] {
        let case = Case::new();
        drop(dig(&case.folder, name, 3_000));
        let last = format!("{name}/").repeat(levels - 10);
        fs::write(case.path(&last).join("leaf"), "x").unwrap();
        fs::write(case.path("z"), "after the deep one").unwrap();
        assert_eq!(counts(&case.pack()), [0, 1, 0, 0]);
        let tar = case.home.path().join("tar");
        let gnu = run(Command::new("tar").arg("-tf").arg(&tar));
        let python = run(Command::new("python3").args(["-c", list]).arg(&tar));
        for listed in [gnu, python] {
            assert_eq!(listed.lines().count(), levels + 3);
            assert!(listed.lines().any(|line| line == format!("folder/{last}leaf")));
        }
        for back in if unpack { case.unpack().to_vec() } else { Vec::new() } {
            assert_eq!(fs::read(back.join(&last).join("leaf")).unwrap(), b"x");
            assert_eq!(fs::read(back.join("z")).unwrap(), b"after the deep one");
        }
        // The library would open all of them at the same time.
        run(Command::new("rm").arg("-r").arg(case.home.path()));
    }
}

#[test]
fn wide_folder_is_packed_in_order() {
    let case = Case::new();
    for nth in 0..2_000 {
        fs::write(case.path(format!("{nth:05}")), "").unwrap();
    }
    assert_eq!(counts(&case.pack()), [0; 4]);
    let listed = run(Command::new("tar").arg("-tf").arg(case.home.path().join("tar")));
    assert_eq!(listed.lines().count(), 2_001);
    assert!(listed.lines().is_sorted());
    case.unpacks_equal();
}

/// A sparse file.
struct Sparse(File);

impl Write for Sparse {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        static ZEROS: [u8; PIECE] = [0; PIECE];
        if ZEROS.get(..bytes.len()) == Some(bytes) {
            self.0.seek(SeekFrom::Current(i64::try_from(bytes.len()).unwrap()))?;
            return Ok(bytes.len());
        }
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn file_larger_than_8_gib_is_packed() {
    let case = Case::new();
    let size = (8 << 30) + 5;
    File::create(case.path("large")).unwrap().set_len(size).unwrap();
    fs::write(case.path("small"), "after it").unwrap();
    let tar = case.home.path().join("tar");
    let mut out = Sparse(File::create(&tar).unwrap());
    pack(&case.folder, &mut out).unwrap();
    let end = out.0.stream_position().unwrap();
    out.0.set_len(end).unwrap();
    let script = "import sys, tarfile\ntar = tarfile.open(sys.argv[1])\n\
                  print(tar.getmember('folder/large').size, tar.extractfile('folder/small').read())";
    let said = run(Command::new("python3").args(["-c", script]).arg(&tar));
    assert_eq!(said, format!("{size} b'after it'\n"));
    let listed = run(Command::new("tar").arg("-tvf").arg(&tar));
    assert!(listed.contains(&format!(" {size} ")) && listed.contains("folder/small"), "{listed}");
}

/// Runs an action as soon as the header of a member is written.
struct Meddler<F> {
    tar: Vec<u8>,
    member: &'static str,
    change: Option<F>,
}

impl<F: FnOnce()> Write for Meddler<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.tar.extend_from_slice(bytes);
        let is_header = bytes.len() == 512 && bytes.starts_with(self.member.as_bytes());
        if is_header || bytes.ends_with(self.member.as_bytes()) {
            self.change.take().unwrap()();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Case {
    fn pack_while(&self, member: &'static str, change: impl FnOnce()) -> Value {
        let out = Meddler { tar: Vec::new(), member, change: Some(change) };
        self.pack_into(out, |out| {
            assert!(out.change.is_none(), "{member} was not packed");
            out.tar
        })
    }
}

#[test]
fn file_that_vanishes_or_is_replaced_is_skipped() {
    let case = Case::new();
    for name in ["a", "file", "log", "pipe", "link"] {
        fs::write(case.path(name), name).unwrap();
    }
    for name in ["folder1", "folder2"] {
        fs::create_dir(case.path(name)).unwrap();
        fs::write(case.path(name).join("x"), "x").unwrap();
    }
    let left_out = case.pack_while("folder/a\0", || {
        fs::remove_file(case.path("file")).unwrap();
        fs::rename(case.path("log"), case.path("log.1")).unwrap();
        fs::remove_file(case.path("pipe")).unwrap();
        fifo(&case.path("pipe"));
        fs::remove_dir_all(case.path("folder1")).unwrap();
        fs::remove_dir_all(case.path("folder2")).unwrap();
        symlink("/etc", case.path("folder2")).unwrap();
    });
    assert_eq!(counts(&left_out), [3, 0, 0, 1]);
    for back in case.unpack() {
        let mut names: Vec<_> =
            back.read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["a", "folder2", "link"]);
        // A link that replaces a folder stays a link.
        assert_eq!(fs::read_link(back.join("folder2")).unwrap(), Path::new("/etc"));
    }
}

#[test]
fn shrinking_file_is_padded_and_reported() {
    for (size, rest) in [(3 << 20, 10), (100, 0), (1 << 20, 1 << 19)] {
        let case = Case::new();
        fs::write(case.path("a"), vec![1; size]).unwrap();
        fs::write(case.path("b"), "after it").unwrap();
        let left_out = case.pack_while("folder/a\0", || {
            File::options().write(true).open(case.path("a")).unwrap().set_len(rest).unwrap();
        });
        assert_eq!(counts(&left_out), [0, 0, 1, 0]);
        assert_eq!(left_out["names"][0]["name"], "folder/a");
        for back in case.unpack() {
            let mut expected = vec![1; usize::try_from(rest).unwrap()];
            expected.resize(size, 0);
            assert!(fs::read(back.join("a")).unwrap() == expected);
            assert_eq!(fs::read(back.join("b")).unwrap(), b"after it");
        }
    }
}

#[test]
fn growing_file_is_cut_at_its_initial_length() {
    let case = Case::new();
    fs::write(case.path("a"), "12345").unwrap();
    let left_out = case.pack_while("folder/a\0", || {
        fs::write(case.path("a"), "1234567890").unwrap();
    });
    assert_eq!(counts(&left_out), [0; 4]);
    for back in case.unpack() {
        assert_eq!(fs::read(back.join("a")).unwrap(), b"12345");
    }
}

#[test]
fn deep_folder_moved_during_packing_loses_only_the_rest() {
    let case = Case::new();
    drop(dig(&case.folder, "d", OPEN + 10));
    let at = |level: usize| case.folder.join("d/".repeat(level));
    fs::write(at(OPEN + 10).join("leaf"), "x").unwrap();
    fs::write(at(OPEN + 5).join("z1"), "lost").unwrap();
    fs::write(at(OPEN + 5).join("z2"), "lost").unwrap();
    fs::write(at(OPEN - 5).join("z"), "kept").unwrap();
    // The name is too long for a header and has a member of its own.
    let left_out = case.pack_while("/leaf", || {
        fs::rename(at(OPEN + 6), case.path("moved")).unwrap();
    });
    assert_eq!(counts(&left_out), [2, 0, 0, 0]);
    for back in case.unpack() {
        assert_eq!(fs::read(back.join("d/".repeat(OPEN - 5)).join("z")).unwrap(), b"kept");
    }
}

#[test]
fn folder_without_readable_files_is_an_error() {
    let case = Case::new();
    fs::write(case.path("a"), "x").unwrap();
    fs::write(case.path("b"), "x").unwrap();
    let mut out = Meddler {
        tar: Vec::new(),
        member: "folder/\0",
        change: Some(|| fs::remove_dir_all(&case.folder).unwrap()),
    };
    let error = pack(&case.folder, &mut out).unwrap_err();
    assert_eq!(error.code(), Code::LocalIo);
    assert!(error.message().starts_with("nothing in "), "{}", error.message());
    assert!(pack(&case.folder, &mut Vec::new()).is_err());
}

#[test]
fn reported_names_of_skipped_files_are_bounded() {
    let case = Case::new();
    fs::write(case.path("z"), "x").unwrap();
    for nth in 0..100 {
        let name = format!("{nth:03}{}", "p".repeat(200));
        fifo(&case.path(name));
    }
    let left_out = case.pack();
    assert_eq!(counts(&left_out), [0, 0, 0, 100]);
    assert_eq!(left_out["names"].as_array().unwrap().len(), 20);
    assert_ne!(left_out["names"][0]["name"], json!(""));
}
