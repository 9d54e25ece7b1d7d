//! `haversack checkout`: takes a part of a feature service along as a GeoPackage file.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use haversack_geoservices::remote::CheckoutRequest;
use haversack_model::{Collection, CollectionId, Direction, Envelope, Policy, Service};
use haversack_server::native::Compression;
use haversack_server::native::wire::{LayerRequest, ReplicaRequest};
use serde_json::json;

use crate::args::{CheckoutArgs, Compress, PolicyArg};
use crate::connect::{self, Native};
use crate::exit::Outcome;
use crate::output::{BOLD, DIM, GREEN, Output, Unit, advance, count};
use crate::{replica, view};

/// Coordinates of `--bbox`.
const DEGREES: i32 = 4326;

/// Runs the command.
pub(crate) fn run(args: &CheckoutArgs, out: Output) -> Result<Outcome> {
    if args.output.exists() {
        bail!(
            "{} exists already; choose another name or remove it",
            args.output.display()
        );
    }
    let folder = args.output.parent().filter(|p| !p.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        bail!("there is no folder {}", folder.display());
    }
    let native = if args.geoservices {
        None
    } else {
        connect::discover(&args.url, &args.connect)?
    };
    match native {
        Some(native) => from_haversack(&native, args, out)?,
        None => from_feature_service(args, out)?,
    }
    report(args, out)?;
    Ok(Outcome::Done)
}

fn from_haversack(native: &Native, args: &CheckoutArgs, out: Output) -> Result<()> {
    let explain = |error| connect::explain(error, &args.url);
    let service = native
        .client
        .service(&native.service)
        .map_err(explain)?
        .service;
    let request = ReplicaRequest {
        name: args.name.clone().unwrap_or_else(|| file_name(&args.output)),
        url: args.url.trim_end_matches('/').to_owned(),
        layers: layers(args, &service)?,
        policy: policy(args.policy),
        direction: Direction::Bidirectional,
        attachments: args.attachments,
        spatial_index: !args.no_spatial_index,
        key: None,
    };
    let bar = out.progress("asking the server", Unit::Bytes);
    let client = native.client.clone().with_compression(match args.compress {
        Compress::Auto => Compression::Auto,
        Compress::Always => Compression::Always,
        Compress::Never => Compression::Never,
    });
    client
        .checkout(
            &native.service,
            &request,
            &args.output,
            &mut |phase, done, total| {
                bar.set_message(phase.to_owned());
                advance(
                    &bar,
                    if phase == "downloading" {
                        Unit::Bytes
                    } else {
                        Unit::Rows
                    },
                    done,
                    total,
                );
            },
        )
        .map_err(explain)?;
    bar.finish_and_clear();
    Ok(())
}

fn from_feature_service(args: &CheckoutArgs, out: Output) -> Result<()> {
    let mut remote = connect::feature_service(&args.url, &args.connect)?;
    let wanted = layers(args, remote.service())?;
    let area = args.bbox.as_deref().map(parse_bbox).transpose()?;
    let request = CheckoutRequest {
        name: args.name.clone().unwrap_or_else(|| file_name(&args.output)),
        layers: wanted.iter().map(|layer| layer.collection).collect(),
        conditions: wanted
            .iter()
            .filter_map(|layer| Some((layer.collection, layer.condition.clone()?)))
            .collect(),
        area: area.map(|[min_x, min_y, max_x, max_y]| {
            (
                Envelope {
                    min_x,
                    min_y,
                    max_x,
                    max_y,
                },
                DEGREES,
            )
        }),
        attachments: args.attachments,
    };
    let options = replica::Options {
        spatial_index: !args.no_spatial_index,
    };
    let bar = out.progress("asking the server", Unit::Rows);
    replica::take(
        &mut remote,
        request,
        policy(args.policy),
        (&args.output, options),
        &mut |phase, done, total| {
            bar.set_message(phase.to_owned());
            advance(&bar, Unit::Rows, done, total);
        },
    )?;
    bar.finish_and_clear();
    Ok(())
}

/// What is wanted of each layer; nothing for a whole service.
fn layers(args: &CheckoutArgs, service: &Service) -> Result<Vec<LayerRequest>> {
    let bbox = args.bbox.as_deref().map(parse_bbox).transpose()?;
    let ids: BTreeSet<u32> = match layer_in_url(&args.url) {
        Some(id) if args.layers.is_empty() => [id].into(),
        _ => args.layers.iter().copied().collect(),
    };
    if ids.is_empty() && args.condition.is_empty() && bbox.is_none() {
        return Ok(Vec::new());
    }
    let wanted: Vec<&Collection> = if ids.is_empty() {
        service.collections.iter().collect()
    } else {
        ids.iter()
            .map(|id| {
                service.collection(CollectionId(*id)).with_context(|| {
                    let known: Vec<String> = service
                        .collections
                        .iter()
                        .map(|c| format!("{} ({})", c.id, c.name))
                        .collect();
                    format!(
                        "{} has no layer {id}; it has {}",
                        service.name,
                        known.join(", ")
                    )
                })
            })
            .collect::<Result<_>>()?
    };
    let conditions: Vec<(Option<u32>, &str)> = args
        .condition
        .iter()
        .map(|text| split_condition(text))
        .collect();
    for (layer, condition) in &conditions {
        if let Some(layer) = layer.filter(|layer| wanted.iter().all(|c| c.id.0 != *layer)) {
            bail!(
                "--where \"{layer}:{condition}\": layer {layer} is not among those that are taken"
            );
        }
    }
    Ok(wanted
        .into_iter()
        .map(|collection| {
            let own: Vec<&str> = conditions
                .iter()
                .filter(|(layer, _)| layer.is_none_or(|layer| layer == collection.id.0))
                .map(|(_, condition)| *condition)
                .collect();
            LayerRequest {
                collection: collection.id,
                condition: match own[..] {
                    [] => None,
                    [one] => Some(one.to_owned()),
                    _ => Some(format!("({})", own.join(") AND ("))),
                },
                bbox: bbox.filter(|_| collection.geometry.is_some()),
                bbox_srid: bbox
                    .filter(|_| collection.geometry.is_some())
                    .map(|_| DEGREES),
            }
        })
        .collect())
}

/// The layer in a URL that leads to one: `../FeatureServer/2`.
fn layer_in_url(url: &str) -> Option<u32> {
    let (service, layer) = url.trim_end_matches('/').rsplit_once('/')?;
    let is_service = service.to_ascii_lowercase().ends_with("/featureserver");
    layer.parse().ok().filter(|_| is_service)
}

/// `LAYER:CONDITION`, or a condition for all layers.
fn split_condition(text: &str) -> (Option<u32>, &str) {
    match text
        .split_once(':')
        .map(|(layer, rest)| (layer.trim().parse(), rest))
    {
        Some((Ok(layer), rest)) => (Some(layer), rest.trim()),
        _ => (None, text.trim()),
    }
}

fn parse_bbox(text: &str) -> Result<[f64; 4]> {
    let numbers: Vec<f64> = text
        .split(',')
        .map(|n| n.trim().parse::<f64>().ok().filter(|n| n.is_finite()))
        .collect::<Option<_>>()
        .with_context(|| format!("--bbox {text:?} is not four numbers: west,south,east,north"))?;
    match numbers[..] {
        [west, south, east, north]
            if west < -180.0 || south < -90.0 || east > 180.0 || north > 90.0 =>
        {
            bail!("--bbox {text:?}: the box is in degrees, from -180,-90 to 180,90")
        }
        [west, south, east, north] if west <= east && south <= north => {
            Ok([west, south, east, north])
        }
        [_, _, _, _] => {
            bail!("--bbox {text:?}: west must not be beyond east, nor south beyond north")
        }
        _ => bail!("--bbox {text:?} is not four numbers: west,south,east,north"),
    }
}

fn policy(policy: PolicyArg) -> Policy {
    match policy {
        PolicyArg::Merge => Policy::Merge,
        PolicyArg::Client => Policy::Client,
        PolicyArg::Server => Policy::Server,
    }
}

fn file_name(path: &Path) -> String {
    path.file_stem().map_or_else(
        || "replica".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

fn report(args: &CheckoutArgs, out: Output) -> Result<()> {
    let file = replica::open(&args.output)?;
    file.keep_reserve();
    let header = file.header()?;
    let collections = file.collections();
    let status = file.status()?;
    let document = json!({
        "file": args.output,
        "replica": header.id.to_string(),
        "protocol": header.protocol,
        "generation": header.cursor.generation.0,
        "layers": view::layers_json(&status, &collections),
    });
    out.result(&document, |out| {
        let total: u64 = status.layers.iter().map(|l| l.rows).sum();
        out.line(format_args!(
            "{GREEN}{}{GREEN:#} in {BOLD}{}{BOLD:#}",
            count(total, "row"),
            args.output.display()
        ));
        view::print_layers(&status, &collections, out);
        out.line(format_args!(
            "{DIM}Edit it offline with any GeoPackage program; then `haversack sync {}`.{DIM:#}",
            args.output.display()
        ));
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_may_name_its_layer() {
        assert_eq!(split_condition("2: open = 1"), (Some(2), "open = 1"));
        assert_eq!(split_condition("name = 'a:b'"), (None, "name = 'a:b'"));
    }

    #[test]
    fn a_box_is_four_ordered_numbers() {
        let numbers = parse_bbox("-1, 2,3,4").unwrap();
        assert_eq!(numbers.map(|n| n as i64), [-1, 2, 3, 4]);
        assert!(parse_bbox("3,2,1,4").is_err());
        assert!(parse_bbox("1,2,3").is_err());
        assert!(parse_bbox("1,2,3,NaN").is_err());
        let metres = parse_bbox("-13000000,4000000,-12000000,5000000").unwrap_err();
        assert!(metres.to_string().contains("degrees"), "{metres}");
    }

    #[test]
    fn a_url_may_name_its_layer() {
        assert_eq!(
            layer_in_url("http://h/rest/services/P/FeatureServer/2/"),
            Some(2)
        );
        assert_eq!(layer_in_url("http://h/rest/services/P/FeatureServer"), None);
        assert_eq!(layer_in_url("http://h/rest/services/7/FeatureServer"), None);
    }
}
