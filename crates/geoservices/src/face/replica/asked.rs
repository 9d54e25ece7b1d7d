//! The parameters of createReplica, read and checked before anything is done.

use haversack_model::{Collection, CollectionId, Direction, Filter, Right, SyncModel};
use serde_json::Value;

use super::super::call::{Call, Opened};
use super::super::extract::filegdb;
use super::super::metadata::service::allows;
use super::super::problem::{Problem, Result};
use super::super::query::filter;
use super::dialect::{AttachmentsDirection, Dialect, LayerQuery, QueryOption};
use crate::wire::json::member;
use crate::wire::params::Params;

/// The form of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DataFormat {
    /// JSON.
    Json,
    /// A zipped file geodatabase.
    FileGdb,
}

/// What createReplica was asked for.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) name: String,
    /// `None`: nothing is registered.
    pub(crate) model: Option<SyncModel>,
    pub(crate) direction: Direction,
    pub(crate) format: DataFormat,
    pub(crate) embedded: bool,
    /// The layers with their filters, without grants.
    pub(crate) layers: Vec<(CollectionId, Filter)>,
    pub(crate) dialect: Dialect,
}

/// Whether an answer comes in itself (`true`) or as the URL of a file.
pub(crate) fn embedded(params: &Params) -> Result<bool> {
    let words = [
        ("esriTransportTypeUrl", false),
        ("esriTransportTypeEmbedded", true),
    ];
    Ok(params.choice("transportType", &words)?.unwrap_or(false))
}

impl Asked {
    /// Reads and checks.
    pub(crate) fn of_call(call: &Call, opened: &Opened) -> Result<Self> {
        let params = &call.params;
        let models = [
            ("perReplica", Some(SyncModel::PerReplica)),
            ("perLayer", Some(SyncModel::PerLayer)),
            ("none", None),
        ];
        let model = params
            .choice("syncModel", &models)?
            .unwrap_or(Some(SyncModel::PerReplica));
        params.choice("targetType", &[("client", ())])?;
        check_options(params)?;
        let format = data_format(params, model)?;
        check_rights(call, opened, model, format)?;
        let dialect = read_dialect(params, opened)?;
        let ids = layer_ids(params, opened)?;
        let layers = filters(opened, &dialect, &ids)?;
        let embedded = embedded(params)?;
        if embedded && format != DataFormat::Json {
            let problem = "a file format needs esriTransportTypeUrl";
            return Err(Problem::parameter("transportType", problem));
        }
        Ok(Self {
            name: params
                .text("replicaName")
                .map_or_else(|| format!("Ags_Fs_{}", call.now().0), str::to_owned),
            model,
            direction: direction(call, opened)?,
            format,
            // A job's answer is read from a file.
            embedded: embedded && call.job.is_none(),
            layers,
            dialect,
        })
    }
}

fn check_options(params: &Params) -> Result<()> {
    let options = params.object("replicaOptions")?.unwrap_or_default();
    let registers = [
        "refReplicaId",
        "newReplica",
        "layerServerGens",
        "replicaServerGen",
    ];
    if registers
        .iter()
        .any(|name| member(&options, name).is_some())
    {
        return Err(Problem::parameter(
            "replicaOptions",
            "registering existing data is not offered",
        ));
    }
    Ok(())
}

fn data_format(params: &Params, model: Option<SyncModel>) -> Result<DataFormat> {
    let mut words = vec![("json", DataFormat::Json)];
    if filegdb::is_available() {
        words.push(("filegdb", DataFormat::FileGdb));
    }
    let format = params
        .choice("dataFormat", &words)?
        .unwrap_or(DataFormat::Json);
    if format != DataFormat::Json && model.is_some() {
        return Err(Problem::parameter(
            "dataFormat",
            "a file format needs syncModel=none",
        ));
    }
    Ok(format)
}

fn check_rights(
    call: &Call,
    opened: &Opened,
    model: Option<SyncModel>,
    format: DataFormat,
) -> Result<()> {
    match (model, format) {
        (Some(_), _) => {
            opened.offers("Sync")?;
            call.require(&opened.access, Right::Sync)
        }
        (None, DataFormat::FileGdb) => {
            opened.offers("Extract")?;
            call.require(&opened.access, Right::Extract)
        }
        // A copy in JSON is what a replica would give.
        (None, DataFormat::Json) => {
            if opened.service.has_capability("Sync") && opened.access.allows(Right::Sync) {
                return Ok(());
            }
            opened.offers("Extract")?;
            call.require(&opened.access, Right::Extract)
        }
    }
}

fn direction(call: &Call, opened: &Opened) -> Result<Direction> {
    let words = [
        ("bidirectional", Direction::Bidirectional),
        ("upload", Direction::Upload),
        ("download", Direction::Download),
    ];
    let asked = call.params.choice("syncDirection", &words)?;
    Ok(match asked.unwrap_or(Direction::Bidirectional) {
        // Who may only read gets a replica that only downloads.
        _ if !may_upload(call, opened) => Direction::Download,
        direction => direction,
    })
}

/// Whether the principal's replicas may upload. A service without editing takes edits from who manages it alone.
pub(crate) fn may_upload(call: &Call, opened: &Opened) -> bool {
    let is_editable = ["Create", "Update", "Delete"]
        .iter()
        .any(|word| allows(opened, word));
    let manages = call.principal.is_admin || opened.access.allows(Right::Admin);
    opened.access.allows(Right::Edit) && (is_editable || manages)
}

/// The layers that are named, or all.
pub(crate) fn layer_ids(params: &Params, opened: &Opened) -> Result<Vec<CollectionId>> {
    let Some(named) = params.ids("layers")? else {
        return Ok(opened.service.collections.iter().map(|c| c.id).collect());
    };
    let mut ids = Vec::new();
    for number in named {
        let id = u32::try_from(number).ok().map(CollectionId);
        let known = id.filter(|id| opened.service.collection(*id).is_some());
        let id = known
            .ok_or_else(|| Problem::parameter("layers", &format!("there is no layer {number}")))?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    if ids.is_empty() {
        return Err(Problem::parameter("layers", "name at least one layer"));
    }
    Ok(ids)
}

/// Reads what is kept as text.
pub(crate) fn read_dialect(params: &Params, opened: &Opened) -> Result<Dialect> {
    let reference = |name: &str| -> Result<Option<i32>> {
        let text = params.text(name);
        text.map(|text| filter::reference(text, name)).transpose()
    };
    let return_attachments = params.flag("returnAttachments", false)?;
    let directions = [
        ("none", AttachmentsDirection::None),
        ("upload", AttachmentsDirection::Upload),
        ("bidirectional", AttachmentsDirection::Bidirectional),
    ];
    let attachments = params.choice("attachmentsSyncDirection", &directions)?;
    let usual = if return_attachments {
        AttachmentsDirection::Bidirectional
    } else {
        AttachmentsDirection::None
    };
    Ok(Dialect {
        geometry: params.text("geometry").map(str::to_owned),
        geometry_type: params.text("geometryType").map(str::to_owned),
        spatial_rel: params.text("spatialRel").map(str::to_owned),
        in_sr: reference("inSR")?,
        replica_sr: reference("replicaSR")?.or(reference("outSR")?),
        layers: layer_queries(params, opened)?,
        return_attachments,
        attachments_by_url: params.flag("returnAttachmentsDataByUrl", true)?,
        attachments: attachments.unwrap_or(usual),
    })
}

fn layer_queries(
    params: &Params,
    opened: &Opened,
) -> Result<std::collections::BTreeMap<u32, LayerQuery>> {
    const NAME: &str = "layerQueries";
    let mut queries = std::collections::BTreeMap::new();
    let sent = match params.json(NAME)? {
        None => return Ok(queries),
        Some(Value::Object(sent)) => sent,
        Some(_) => {
            return Err(Problem::parameter(
                NAME,
                "use an object with layer ids as keys",
            ));
        }
    };
    for (key, query) in &sent {
        // Clients make keys such as `,` out of lists of layers: what names no layer is not a query.
        let Some(id) = key.trim().parse().ok().map(CollectionId) else {
            continue;
        };
        if opened.service.collection(id).is_none() || query.is_null() {
            continue;
        }
        queries.insert(id.0, layer_query(query)?);
    }
    Ok(queries)
}

fn layer_query(sent: &Value) -> Result<LayerQuery> {
    const NAME: &str = "layerQueries";
    let wrong = |problem: &str| Problem::parameter(NAME, problem);
    let members = sent
        .as_object()
        .ok_or_else(|| wrong("each query must be an object"))?;
    let flag = |name: &str| -> Result<Option<bool>> {
        match member(members, name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(Some(true)),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(Some(false)),
            Some(_) => Err(wrong(&format!("'{name}' must be true or false"))),
        }
    };
    let condition = match member(members, "where") {
        None => None,
        Some(Value::String(text)) => Some(text.clone()).filter(|text| !text.trim().is_empty()),
        Some(_) => return Err(wrong("'where' must be text")),
    };
    let option = match member(members, "queryOption") {
        None => QueryOption::UseFilter,
        Some(Value::String(word)) => match word.to_ascii_lowercase().as_str() {
            "none" => QueryOption::None,
            "usefilter" => QueryOption::UseFilter,
            "all" => QueryOption::All,
            _ => return Err(wrong("'queryOption' must be none, useFilter or all")),
        },
        Some(_) => return Err(wrong("'queryOption' must be none, useFilter or all")),
    };
    Ok(LayerQuery {
        option,
        condition,
        use_geometry: flag("useGeometry")?.unwrap_or(true),
        include_related: flag("includeRelated")?,
    })
}

/// The filters of all layers, from their texts.
pub(crate) fn filters(
    opened: &Opened,
    dialect: &Dialect,
    ids: &[CollectionId],
) -> Result<Vec<(CollectionId, Filter)>> {
    let mut all = Vec::new();
    for id in ids {
        all.push((*id, own_filter(opened, dialect, opened.collection(*id)?)?));
    }
    let plain = all.clone();
    for (id, filter) in &mut all {
        let query = dialect.layer(*id);
        let related = match query.option {
            QueryOption::All => false,
            QueryOption::None => query.include_related.unwrap_or(true),
            QueryOption::UseFilter => query.include_related == Some(true),
        };
        if related {
            let own = std::mem::replace(filter, Filter::Nothing);
            *filter = with_related(opened.collection(*id)?, own, &plain);
        }
    }
    Ok(all)
}

fn own_filter(opened: &Opened, dialect: &Dialect, collection: &Collection) -> Result<Filter> {
    let query = dialect.layer(collection.id);
    match query.option {
        QueryOption::None => return Ok(Filter::Nothing),
        QueryOption::All => return Ok(Filter::All),
        QueryOption::UseFilter => {}
    }
    let mut filter = match &query.condition {
        Some(text) => filter::parse_where(text, "layerQueries", collection, opened.now)?,
        None => Filter::All,
    };
    if query.use_geometry {
        filter = filter.and(place(opened, dialect, collection)?);
    }
    Ok(filter)
}

/// The geometry of the replica as a filter of one layer; without `inSR` it is in the service's reference.
pub(crate) fn place(opened: &Opened, dialect: &Dialect, collection: &Collection) -> Result<Filter> {
    let mut params = Params::new();
    let texts = [
        ("geometry", &dialect.geometry),
        ("geometryType", &dialect.geometry_type),
        ("spatialRel", &dialect.spatial_rel),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            params.add(name, text)?;
        }
    }
    params.add(
        "inSR",
        dialect.in_sr.unwrap_or(opened.service.srid).to_string(),
    )?;
    filter::spatial(&params, collection)
}

/// Adds the records that belong to a record of another layer of the replica.
fn with_related(collection: &Collection, own: Filter, all: &[(CollectionId, Filter)]) -> Filter {
    let mut any = vec![own];
    for relationship in collection.relationships.iter().filter(|r| !r.is_origin) {
        if let Some((parent, filter)) = all.iter().find(|(id, _)| *id == relationship.related) {
            any.push(Filter::ParentMatches {
                field: relationship.key_field.clone(),
                parent: *parent,
                filter: Box::new(filter.clone()),
            });
        }
    }
    any.retain(|filter| *filter != Filter::Nothing);
    match any.len() {
        0 => Filter::Nothing,
        1 => any.remove(0),
        _ => Filter::Or(any),
    }
}
