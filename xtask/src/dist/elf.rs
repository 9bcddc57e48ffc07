//! Headers of an ELF file: its machine, whether it needs a loader, and the version of its C library.

use anyhow::{Context as _, bail, ensure};

use xtask::toolchain::Target;

/// Properties of a program, from its headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Elf {
    pub(super) target: Target,
    /// True if a loader must load libraries for the program.
    pub(super) needs_loader: bool,
}

/// `PT_INTERP`: the name of the loader.
const INTERPRETER: u64 = 3;

impl Elf {
    /// Reads the headers of a little-endian file.
    ///
    /// # Errors
    /// The file is not a program for a machine that Atalaya is packaged for.
    pub(super) fn read(file: &[u8]) -> anyhow::Result<Elf> {
        ensure!(file.starts_with(b"\x7fELF"), "it is no ELF file");
        ensure!(number(file, 5, 1)? == 1, "its numbers are big-endian");
        let wide = number(file, 4, 1)? == 2;
        let target = match (wide, number(file, 18, 2)?) {
            (true, 62) => Target::X86_64,
            (true, 183) => Target::Aarch64,
            (false, 40) => Target::Armv7,
            (_, machine) => bail!("it is for another machine: e_machine {machine}"),
        };
        // Offsets of e_phoff, e_phentsize and e_phnum in the System V ABI, chapter 4.
        let (table, size, count) = if wide { ((32, 8), 54, 56) } else { ((28, 4), 42, 44) };
        let table = number(file, table.0, table.1)?;
        let (size, count) = (number(file, size, 2)?, number(file, count, 2)?);
        let kind = |index: u64| {
            let at = index.checked_mul(size).and_then(|offset| table.checked_add(offset));
            number(file, usize::try_from(at.context("no such header")?)?, 4)
        };
        let kinds: Vec<u64> = (0..count).map(kind).collect::<anyhow::Result<_>>()?;
        Ok(Elf { target, needs_loader: kinds.contains(&INTERPRETER) })
    }
}

/// Reads the unsigned number of `width` bytes at an offset.
fn number(file: &[u8], at: usize, width: usize) -> anyhow::Result<u64> {
    let bytes = at.checked_add(width).and_then(|end| file.get(at..end)).context("the file is cut off")?;
    Ok(bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

/// Returns the newest glibc version whose symbols a program requires, such as (2, 34). The versions are among its
/// strings.
pub(super) fn glibc(file: &[u8]) -> Option<(u32, u32)> {
    const NAME: &[u8] = b"GLIBC_";
    let places = file.windows(NAME.len()).enumerate().filter(|(_, window)| *window == NAME);
    places.filter_map(|(at, _)| version(&file[at + NAME.len()..])).max()
}

fn version(text: &[u8]) -> Option<(u32, u32)> {
    let end = text.iter().position(|byte| !byte.is_ascii_digit() && *byte != b'.')?;
    let text = std::str::from_utf8(&text[..end.min(16)]).ok()?;
    let mut numbers = text.split('.').map(|part| part.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
    #[test]
    fn this_very_program_is_understood() {
        let file = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let elf = Elf::read(&file).unwrap();
        assert_eq!(Some(elf.target), Target::here());
        assert!(elf.needs_loader);
        assert!(glibc(&file).unwrap() >= (2, 17));
    }

    #[test]
    fn a_32_bit_program_without_loader_is_understood() {
        let mut file = vec![0; 52 + 32];
        file[..7].copy_from_slice(b"\x7fELF\x01\x01\x01");
        for (at, value) in [(18, 40), (28, 52), (42, 32), (44, 1), (52, 1)] {
            file[at] = value;
        }
        assert_eq!(Elf::read(&file).unwrap(), Elf { target: Target::Armv7, needs_loader: false });
        file[52] = 3;
        assert!(Elf::read(&file).unwrap().needs_loader);
        for end in 0..file.len() - 30 {
            assert!(Elf::read(&file[..end]).is_err(), "cut off at {end}");
        }
    }

    #[test]
    fn the_newest_version_counts() {
        assert_eq!(glibc(b"\0GLIBC_2.4\0GLIBC_2.34\0GLIBC_2.9\0"), Some((2, 34)));
        assert_eq!(glibc(b"\0GLIBC_PRIVATE\0GLIBC_2.2.5\0"), Some((2, 2)));
        assert_eq!(glibc(b"nothing GLIBC_"), None);
        assert_eq!(glibc(b""), None);
    }
}
