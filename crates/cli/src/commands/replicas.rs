//! `haversack replicas` and `haversack release`: what a server remembers of replicas.

use anyhow::{Result, bail};
use serde_json::{Value as Json, json};

use crate::args::{ReleaseArgs, ReplicasArgs};
use crate::exit::Outcome;
use crate::output::{GREEN, Output, count, time};
use crate::replica::Origin;
use crate::{connect, replica};

/// Lists the replicas of a service.
pub(crate) fn list(args: &ReplicasArgs, out: Output) -> Result<Outcome> {
    let Some(native) = connect::discover(&args.url, &args.connect)? else {
        return list_foreign(args, out);
    };
    let replicas = native
        .client
        .replicas(&native.service)
        .map_err(|error| connect::explain(error, &args.url))?;
    let documents: Vec<Json> = replicas
        .iter()
        .map(|r| {
            json!({
                "id": r.id.to_string(), "name": r.name, "owner": r.owner, "native": r.native,
                "layers": r.collections.iter().map(|c| c.0).collect::<Vec<_>>(),
                "policy": format!("{:?}", r.policy).to_lowercase(),
                "createdAt": r.created_at.0, "syncedAt": r.synced_at.0,
            })
        })
        .collect();
    out.result(&Json::Array(documents), |out| {
        if replicas.is_empty() {
            out.line(format_args!("{} has no replicas of yours.", native.service));
            return;
        }
        let rows = replicas
            .iter()
            .map(|r| {
                let owner = if r.owner.is_empty() {
                    "anonymous"
                } else {
                    &r.owner
                };
                vec![
                    r.id.to_string(),
                    r.name.clone(),
                    owner.to_owned(),
                    time(r.created_at),
                    time(r.synced_at),
                ]
            })
            .collect();
        out.table(&["id", "name", "owner", "made", "last sync"], rows);
    });
    Ok(Outcome::Done)
}

/// Other servers tell names and ids alone.
fn list_foreign(args: &ReplicasArgs, out: Output) -> Result<Outcome> {
    let replicas = connect::feature_service(&args.url, &args.connect)?
        .replicas()
        .map_err(|error| connect::explain(error.into(), &args.url))?;
    let documents: Vec<Json> = replicas
        .iter()
        .map(|r| json!({"id": r.id, "name": r.name}))
        .collect();
    out.result(&Json::Array(documents), |out| {
        out.table(
            &["id", "name"],
            replicas
                .iter()
                .map(|r| vec![r.id.clone(), r.name.clone()])
                .collect(),
        );
    });
    Ok(Outcome::Done)
}

/// Unregisters a replica; the file stays.
pub(crate) fn release(args: &ReleaseArgs, out: Output) -> Result<Outcome> {
    let file = replica::open_any(&args.file)?;
    let header = file.header()?;
    let waiting = file.status()?.pending;
    if waiting > 0 && !args.force {
        bail!(
            "{} in {}: `haversack sync` sends them first, or --force releases anyway",
            count(waiting, "unsent edit"),
            args.file.display()
        );
    }
    let mut remote = Origin::of(&file, &args.connect)?.remote(&file);
    remote
        .release(&header)
        .map_err(|error| connect::explain(error, &header.url))?;
    file.remove_reserve();
    out.result(&json!({"released": header.id.to_string()}), |out| {
        out.line(format_args!(
            "{GREEN}Released.{GREEN:#} {} stays as it is; `haversack sync` would register it again.",
            args.file.display()
        ));
    });
    Ok(Outcome::Done)
}
