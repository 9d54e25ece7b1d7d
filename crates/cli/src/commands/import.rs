//! `haversack import`: loads a GeoJSON or GeoPackage file into a service.

use anyhow::{Context as _, Result, bail};
use haversack_model::{CollectionId, Store};
use haversack_server::{DataDir, clock};
use haversack_sqlite::SqliteStore;
use serde_json::json;

use crate::args::ImportArgs;
use crate::exit::Outcome;
use crate::import::{self, Source, Target};
use crate::output::{DIM, GREEN, Output, Unit, advance};

/// Runs the command.
pub(crate) fn run(args: &ImportArgs, out: Output) -> Result<Outcome> {
    check_name(&args.service)?;
    let bar = out.progress("reading", Unit::Rows);
    let source = import::open(&args.file)?;
    bar.finish_and_clear();

    let data = DataDir::open(&args.data)?;
    let path = data.services().join(format!("{}.gpkg", args.service));
    let (store, targets, is_new) = if path.exists() {
        let store = SqliteStore::open(&path)?;
        let targets = targets(&store, source.as_ref(), args.layer)?;
        (store, targets, false)
    } else {
        if args.layer.is_some() {
            bail!(
                "there is no service {:?} yet, so it has no layer to add to",
                args.service
            );
        }
        let (service, targets) = import::new_service(&args.service, source.as_ref());
        (SqliteStore::create(&path, &service)?, targets, true)
    };

    let mut loaded = Vec::new();
    for target in &targets {
        let dataset = &source.datasets()[target.dataset];
        for (field, _) in dataset
            .fields
            .iter()
            .zip(&target.places)
            .filter(|(_, place)| place.is_none())
        {
            out.warn(format_args!(
                "{} has no editable field {:?}; it is left out",
                target.collection.name, field.name
            ));
        }
        let bar = out.progress("loading", Unit::Rows);
        loaded.push(import::load(
            &store,
            source.as_ref(),
            target,
            &clock::now,
            &mut |done| {
                advance(&bar, Unit::Rows, done, Some(dataset.rows));
            },
        )?);
        bar.finish_and_clear();
    }

    let document = json!({
        "service": args.service,
        "created": is_new,
        "layers": loaded.iter().map(|l| json!({"id": l.layer.0, "name": l.name, "rows": l.rows})).collect::<Vec<_>>(),
    });
    out.result(&document, |out| {
        for layer in &loaded {
            out.line(format_args!("{GREEN}{} rows{GREEN:#} into layer {} {:?} of {}", layer.rows, layer.layer, layer.name, args.service));
        }
        if is_new {
            out.line(format_args!(
                "{DIM}Administrators see it; `haversack user grant anonymous {} read --data {}` shows it to everybody.{DIM:#}",
                args.service, args.data.display()
            ));
        }
    });
    Ok(Outcome::Done)
}

/// The layers of a service that exists: the one named, or new ones.
fn targets(store: &SqliteStore, source: &dyn Source, layer: Option<u32>) -> Result<Vec<Target>> {
    let mut service = store.begin_read()?.service()?;
    if let Some(layer) = layer {
        let collection = service
            .collection(CollectionId(layer))
            .with_context(|| format!("{} has no layer {layer}", service.name))?;
        return Ok(vec![import::existing_layer(source, collection)?]);
    }
    let targets = import::new_layers(source, &service.collections);
    service
        .collections
        .extend(targets.iter().map(|t| t.collection.clone()));
    let mut tx = store.begin_write(clock::now())?;
    tx.store_service(&service)?;
    tx.commit()?;
    Ok(targets)
}

/// Names go into URLs and file names.
fn check_name(name: &str) -> Result<()> {
    let fits = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.len() <= 80
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if !fits {
        bail!(
            "{name:?} cannot be the name of a service: use letters, digits, _ and -, beginning with a letter"
        );
    }
    Ok(())
}
