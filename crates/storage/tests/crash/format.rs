//! Making a data directory, and its first start, cut off at every sync: afterwards it is formatted
//! whole, or can be formatted again.

use crate::campaign::Tally;
use crate::log;
use crate::place::{Folder, Scratch, lsm_options};
use crate::platter::{Image, Plan, Platter};
use crate::record::{self, Recording};
use crate::store::Store;
use base::{ClusterId, Incarnation, NodeId};
use std::path::Path;
use underpin_storage::directory::{self, DirectoryError, Identity};
use underpin_storage::disk::RealDisk;

fn identity() -> Identity {
    Identity {
        cluster: ClusterId(0x7d0c),
        node: NodeId(2),
        incarnation: Incarnation(log::OWNER),
        founder: true,
        members: [(NodeId(2), "a.example:7400".into())].into(),
    }
}

fn format(path: &Path) -> Result<(), DirectoryError> {
    directory::format(path, &identity(), &log::options(), lsm_options())
}

/// Formats a directory, starts in it twice, and looks at every crash of it.
pub fn campaign(wanted: u64) -> Result<Tally, String> {
    let mut tally = Tally::begin();
    let scratch = Scratch::new();
    let folder = scratch.folder("format");
    record::restore(&folder.0, &Image::default());
    let recording = Recording::begin(&folder.0);
    format(&folder.0).map_err(|error| error.to_string())?;
    let formatted = record::noted();
    for first in [true, false] {
        let started = directory::start(&mut RealDisk::new(&folder.0));
        assert_eq!(started.map_err(|error| error.to_string())?, first);
        drop(Store::open(&folder)?);
    }
    let (mut platter, ops) = recording.end();
    let plan = Plan { limit: wanted / 8, samples: wanted / 16, torn: true, seed: 1 };
    let cut = |platter: &Platter, done: usize, tally: &mut Tally| {
        tally.boundaries += 1;
        let mut failure = Ok(());
        platter.images(&plan, |image| {
            tally.images += 1;
            if failure.is_ok() && tally.images <= wanted {
                failure = judge(&scratch.folder("image"), &image, done >= formatted);
            }
        });
        failure.map_err(|why| format!("after {done} of {ops:#?}: {why}"))
    };
    for (done, op) in ops.iter().enumerate() {
        if op.is_sync() {
            cut(&platter, done, &mut tally)?;
        }
        platter.apply(op);
    }
    cut(&platter, ops.len(), &mut tally)?;
    tally.histories = 1;
    Ok(tally.end())
}

fn judge(folder: &Folder, image: &Image, formatted: bool) -> Result<(), String> {
    record::restore(&folder.0, image);
    let mut disk = RealDisk::new(&folder.0);
    match directory::read(&mut disk) {
        Ok(seen) if seen == identity() => {}
        Err(DirectoryError::NotFormatted { .. }) if !formatted => {
            format(&folder.0).map_err(|error| format!("formatting again: {error}"))?;
        }
        other => return Err(format!("{other:?}")),
    }
    directory::start(&mut disk).map_err(|error| error.to_string())?;
    let rows = Store::open(folder)?.rows()?;
    if !rows.is_empty() {
        return Err(format!("rows from nowhere: {rows:?}"));
    }
    Ok(())
}
