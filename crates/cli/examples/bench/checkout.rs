//! Checkout of a million points from our server by our client, against GDAL copying the same layer on the same disk.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use haversack_model::{Direction, Policy};
use haversack_server::native::wire::ReplicaRequest;
use haversack_sqlite::ReplicaFile;

use crate::layer::{BIG, Child, LARGE, LAYER, TABLE};
use crate::report::{Bound, Figure};
use crate::{figure, median, timed};

const ROUNDS: usize = 3;
const MEGABYTE: f64 = 1_048_576.0;

/// A checkout of a whole service.
pub(crate) fn checkout(server: &Child, service: &str, target: &Path) -> Result<()> {
    let client = server.client()?;
    let request = ReplicaRequest {
        name: service.to_owned(),
        url: server.service_url(service),
        layers: Vec::new(),
        policy: Policy::Merge,
        direction: Direction::Bidirectional,
        attachments: false,
        spatial_index: true,
        key: None,
    };
    client.checkout(service, &request, target, &mut |_phase, _done, _total| {})?;
    Ok(())
}

pub(crate) fn measure(server: &Child, data: &Path, folder: &Path) -> Result<Vec<Figure>> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let target = folder.join(format!("checkout-{round}.gpkg"));
        ours.push(timed(|| checkout(server, BIG, &target))?);
        let file = ReplicaFile::open(&target)?;
        ensure!(
            file.digest(LAYER)?.count == LARGE,
            "the checkout is not whole"
        );
        let id = file.header()?.id;
        drop(file);
        server.client()?.release(BIG, id)?;
        std::fs::remove_file(&target)?;

        let copy = folder.join(format!("copy-{round}.gpkg"));
        let source = data.join("services").join(format!("{BIG}.gpkg"));
        theirs.push(timed(|| {
            let done = Command::new("ogr2ogr")
                .args(["-f", "GPKG"])
                .arg(&copy)
                .arg(&source)
                .arg(TABLE)
                .status()?;
            ensure!(done.success(), "ogr2ogr failed");
            Ok(())
        })?);
        std::fs::remove_file(&copy)?;
    }
    let (ours, theirs) = (median(ours), median(theirs));
    let peak = server.peak_memory()? as f64 / MEGABYTE;
    Ok(vec![
        figure(
            "checkout",
            format!(
                "{LARGE} points with 10 attributes: {ours:.2} s, `ogr2ogr -f GPKG` of the same layer {theirs:.2} s"
            ),
            ours / theirs,
            Bound::AtMost(0.25),
        ),
        figure(
            "server memory",
            format!(
                "peak of the server's resident memory during these checkouts: {peak:.0} MB of 200"
            ),
            peak / 200.0,
            Bound::AtMost(1.0),
        ),
    ])
}
