//! Files that are still being written: a plain `cp` into the watched folder, or over the configuration, is seen before it is done.
//!
//! A component that ends in the middle of a section and was written a moment ago is not looked at yet; one that stays so is broken, and
//! is told as such. A configuration is looked at when nothing was written to it for a moment. Time is an argument, and what is young is a file's
//! own time of change.

use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use crate::moment::Moment;

/// Programs that copy write again within this time.
const YOUNG: Duration = Duration::from_millis(500);
/// However slowly a file grows: nothing else waits for it longer.
const LONGEST: Duration = Duration::from_secs(5);
/// A component begins with eight bytes: `\0asm`, and its version.
const HEADER: u64 = 8;

/// How long a build has been put off.
#[derive(Debug, Default)]
pub(super) struct Settling {
    since: Option<Moment>,
}

impl Settling {
    /// How long to wait before the folder is worth looking at; `None` where it is now.
    pub(super) fn wait<'p>(
        &mut self,
        folder: Option<&Path>,
        config: impl IntoIterator<Item = &'p Path>,
        now: Moment,
    ) -> Option<Duration> {
        let half = folder.and_then(|folder| youngest_half(folder, now));
        let left = config.into_iter().filter_map(|path| left_to_write(path, now)).chain(half).max();
        let since = self.since.get_or_insert(now);
        let left = left.filter(|_| now.since(*since) < LONGEST);
        if left.is_none() {
            self.since = None;
        }
        left
    }
}

/// How long the youngest file that is not whole stays young; `None` where none is.
fn youngest_half(folder: &Path, now: Moment) -> Option<Duration> {
    let entries = fs::read_dir(folder).ok()?;
    let left = |path: &Path| {
        // What is no plain file is not read here: the build says what is wrong with it.
        let about = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file)?;
        let left = left_of_youth(&about, now)?;
        is_cut_off(path, about.len()).unwrap_or(false).then_some(left)
    };
    let paths = entries.flatten().map(|entry| entry.path());
    paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "wasm"))
        .filter_map(|path| left(&path))
        .max()
}

/// How long a configuration that is written in its place stays young: half of one may be sound, and say something else. What was written elsewhere
/// and then moved to its place is whole.
fn left_to_write(path: &Path, now: Moment) -> Option<Duration> {
    let about = fs::metadata(path).ok()?;
    let in_place = (about.mtime(), about.mtime_nsec()) == (about.ctime(), about.ctime_nsec());
    left_of_youth(&about, now).filter(|_| in_place)
}

/// A file of the future is not young: somebody's clock is wrong, and waiting would not help.
fn left_of_youth(about: &fs::Metadata, now: Moment) -> Option<Duration> {
    let changed = Duration::from_secs(u64::try_from(about.mtime()).ok()?)
        + Duration::from_nanos(u64::try_from(about.mtime_nsec()).ok()?);
    let age = Duration::from_nanos(now.as_nanos()).checked_sub(changed)?;
    YOUNG.checked_sub(age).filter(|left| !left.is_zero())
}

/// Whether a file of so many bytes ends before the section it begins does. Contents are not judged.
fn is_cut_off(path: &Path, length: u64) -> io::Result<bool> {
    let mut file = fs::File::open(path)?;
    if length < HEADER {
        return Ok(true);
    }
    let mut magic = [0; 4];
    file.read_exact(&mut magic)?;
    if magic != *b"\0asm" {
        return Ok(false);
    }
    let mut at = HEADER;
    while at < length {
        file.seek(SeekFrom::Start(at))?;
        let mut head = [0; 6];
        let read = file.read(&mut head)?;
        let Some((size, digits)) = number(head.get(1..read).unwrap_or_default()) else {
            // Its size is cut off, or is none.
            return Ok(at + 6 > length);
        };
        at = at.saturating_add(1 + digits + u64::from(size));
    }
    Ok(at > length)
}

/// A number in LEB128, and how many bytes it has.
fn number(bytes: &[u8]) -> Option<(u32, u64)> {
    let end = bytes.iter().position(|byte| byte & 0x80 == 0)?;
    let value = bytes.get(..=end)?.iter().rev().fold(0_u64, |value, byte| (value << 7) | u64::from(byte & 0x7f));
    Some((u32::try_from(value).ok()?, end as u64 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin_policies::SHIPPED;

    /// A folder with one file, and the time just after it was written.
    fn written(bytes: &[u8]) -> (tempfile::TempDir, Moment) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("p.wasm");
        fs::write(&file, bytes).unwrap();
        let about = fs::metadata(&file).unwrap();
        let at = Duration::new(about.mtime().try_into().unwrap(), about.mtime_nsec().try_into().unwrap());
        (folder, Moment::from_nanos(at.as_nanos().try_into().unwrap()))
    }

    #[test]
    fn what_is_cut_off_anywhere_is_awaited_while_it_is_young() {
        let whole = SHIPPED[0].1;
        for length in [0, 1, 7, 9, 10, 100, 10_000, whole.len() / 2, whole.len() - 1] {
            let (folder, at) = written(&whole[..length]);
            let mut settling = Settling::default();
            assert_eq!(settling.wait(Some(folder.path()), [], at), Some(YOUNG), "{length} bytes");
            let later = at + Duration::from_millis(400);
            assert_eq!(
                settling.wait(Some(folder.path()), [], later),
                Some(Duration::from_millis(100)),
                "{length} bytes"
            );
            assert_eq!(settling.wait(Some(folder.path()), [], at + YOUNG), None, "it stays broken: {length} bytes");
        }
    }

    #[test]
    fn what_is_whole_or_no_component_at_all_is_looked_at_now() {
        for bytes in [SHIPPED[0].1, &SHIPPED[0].1[..8], b"no component at all"] {
            let (folder, at) = written(bytes);
            assert_eq!(Settling::default().wait(Some(folder.path()), [], at), None);
        }
        assert_eq!(Settling::default().wait(Some(Path::new("/no/such/folder")), [], Moment::default()), None);
        assert_eq!(Settling::default().wait(None, [], Moment::default()), None);
    }

    #[test]
    fn nothing_waits_for_a_file_that_grows_for_ever() {
        let whole = SHIPPED[0].1;
        let (folder, at) = written(&whole[..100]);
        let mut settling = Settling::default();
        assert!(settling.wait(Some(folder.path()), [], at).is_some());
        settling.since = Some(Moment::from_nanos(at.as_nanos() - u64::try_from(LONGEST.as_nanos()).unwrap()));
        assert_eq!(settling.wait(Some(folder.path()), [], at), None);
        assert!(settling.wait(Some(folder.path()), [], at).is_some(), "what is written next has its time too");
    }

    #[test]
    fn a_clock_that_is_wrong_keeps_nobody_waiting() {
        let (folder, at) = written(&SHIPPED[0].1[..100]);
        let before = Moment::from_nanos(at.as_nanos() - 1_000_000_000);
        assert_eq!(Settling::default().wait(Some(folder.path()), [], before), None);
    }

    #[test]
    fn a_configuration_is_awaited_until_nothing_is_written_to_it() {
        let (folder, at) = written(b"model_list: [");
        let file = folder.path().join("p.wasm");
        let wait = |now: Moment| Settling::default().wait(None, [file.as_path(), Path::new("/no/such/file")], now);
        assert_eq!([wait(at), wait(at + YOUNG)], [Some(YOUNG), None]);
        // What was written elsewhere and moved here is whole: its name is younger than what it says.
        let about = fs::File::options().append(true).open(&file).unwrap();
        about
            .set_modified(std::time::UNIX_EPOCH + Duration::from_nanos(at.as_nanos()) - Duration::from_millis(9))
            .unwrap();
        assert_eq!(wait(at), None);
    }
}
