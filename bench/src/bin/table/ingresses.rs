//! Ingresses with ten annotations each: what an edit of one among many costs, and the memory of many.

use std::{fs, path::Path};

use anyhow::{Result, ensure};
use portcullis_bench::ingresses::{host, ingress};
use portcullis_controller::snapshot::Change;

use crate::{Edit, IN_ONE_FILE, changes, publish_first, service, slice};

const EDITS: usize = 501;

/// Prints the processor time of edits among `count` Ingresses, each with a Service of its own.
pub(crate) fn edits(count: usize) -> Result<()> {
    let objects: Vec<Change> = (0..count).flat_map(|i| changes(&objects_of(i)).collect::<Vec<_>>()).collect();
    println!("\n{count} Ingresses with ten annotations, each with a host and a Service");
    let (mut index, mut statuses, mut served) = publish_first(objects)?;
    let edits = [
        Edit { name: "one Ingress edited", published: true, text: edited },
        Edit { name: "one Ingress edited, new host", published: true, text: moved },
        Edit { name: "one Ingress created", published: true, text: created },
    ];
    for edit in edits {
        served = edit.measure(&mut index, &mut statuses, served, count, EDITS)?;
    }
    let hosts = served.table.ports.values().map(|port| port.listeners.len()).sum::<usize>();
    ensure!(hosts >= count, "not all hosts are served");
    Ok(())
}

/// Writes a folder of `count` Ingresses.
pub(crate) fn write_folder(folder: &Path, count: usize) -> Result<()> {
    fs::create_dir_all(folder)?;
    let all: Vec<_> = (0..count).collect();
    for (number, some) in all.chunks(IN_ONE_FILE).enumerate() {
        let text: String = some.iter().map(|i| objects_of(*i)).collect();
        fs::write(folder.join(format!("ingresses-{number}.yaml")), text)?;
    }
    Ok(())
}

fn objects_of(i: usize) -> String {
    [edited(i, 0), service(i), slice(i, 0)].concat()
}

fn edited(i: usize, edit: usize) -> String {
    ingress(i, edit, &format!("service-{i}"))
}

fn moved(i: usize, edit: usize) -> String {
    edited(i, edit).replace(&host(i), &format!("moved-{edit}-{}", host(i)))
}

/// An Ingress beside the others, with the Service of one of them.
fn created(i: usize, edit: usize) -> String {
    ingress(1_000_000 + edit, edit, &format!("service-{i}"))
}
