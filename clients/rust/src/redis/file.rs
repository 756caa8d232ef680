//! Files that are read as a whole, up to a limit.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

/// Reads a file of at most so many bytes. A pipe is refused: to open it would wait for a writer.
pub fn read_file(file: &Path, most: u64) -> io::Result<Vec<u8>> {
    let metadata = fs::metadata(file)?;
    if metadata.file_type().is_fifo() {
        return Err(io::Error::other("it is a pipe"));
    }
    let mut bytes = Vec::new();
    if metadata.len() <= most {
        fs::File::open(file)?.take(most + 1).read_to_end(&mut bytes)?;
    }
    if metadata.len().max(bytes.len() as u64) > most {
        return Err(io::Error::other(format!("it is larger than {} KiB", most >> 10)));
    }
    Ok(bytes)
}
