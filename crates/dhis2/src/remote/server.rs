//! A server that answers: its version, its time, and what its administrators chose for apps.

use serde_json::Value as Json;

use super::error::{Error, Result};
use super::http::{Credentials, Http, Options};
use crate::wire::version::{Api, Version};

/// A server, asked once.
#[derive(Debug)]
pub struct Server {
    /// The way to it.
    pub http: Http,
    /// What it runs.
    pub version: Version,
    /// Its time when it was asked: what changes from then on is found by it.
    pub server_date: String,
    /// Its time zone, if told.
    pub time_zone: String,
    /// Which exporter and importer the settings app of the server chooses, where the version leaves a choice.
    pub chosen: Chosen,
}

/// Which of the two tracker APIs is to be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    /// For downloads.
    pub exporter: Option<Api>,
    /// For uploads.
    pub importer: Option<Api>,
}

impl Server {
    /// Connects and asks who is there.
    ///
    /// # Errors
    /// [`Error::BadCredentials`] and the like; [`Error::NotDhis2`] for a server of another kind.
    pub fn connect(url: &str, credentials: Credentials, options: &Options) -> Result<Self> {
        let http = Http::new(url, credentials, options)?;
        let fields =
            "serverDate,dateFormat,version,contextPath,systemName,serverTimeZoneId".to_owned();
        let not_dhis2 = |problem: String| Error::NotDhis2 {
            url: http.url().to_owned(),
            problem,
        };
        let info = match http.get("system/info", &[("fields", &fields)]) {
            Err(Error::Answer { problem, .. }) if problem.contains("JSON") => {
                return Err(not_dhis2(format!("its answer {problem}")));
            }
            Err(error @ Error::Refused { .. }) if error.status() == Some(404) => {
                return Err(not_dhis2("it has no /api/system/info".to_owned()));
            }
            other => other?,
        };
        let text = |name: &str| info.get(name).and_then(Json::as_str).unwrap_or_default();
        let version = text("version")
            .parse()
            .map_err(|error: crate::wire::version::NotAVersion| not_dhis2(error.to_string()))?;
        let (server_date, time_zone) = (
            text("serverDate").to_owned(),
            text("serverTimeZoneId").to_owned(),
        );
        if crate::wire::date::parse(&server_date).is_none() {
            return Err(not_dhis2(format!("its time reads {server_date:?}")));
        }
        let chosen = chosen(&http)?;
        Ok(Self {
            http,
            version,
            server_date,
            time_zone,
            chosen,
        })
    }

    /// The API that gives downloads.
    pub fn exporter(&self) -> Api {
        self.version.exporter(self.chosen.exporter)
    }
    /// The API that takes uploads.
    pub fn importer(&self) -> Api {
        self.version.importer(self.chosen.importer)
    }
}

/// What the settings app says. Where it is not installed nothing is chosen.
fn chosen(http: &Http) -> Result<Chosen> {
    let Some(settings) = setting(http, "synchronization")? else {
        return Ok(Chosen::default());
    };
    let api = |name: &str| match settings.get(name).and_then(Json::as_str) {
        Some("V1") => Some(Api::Old),
        Some("V2") => Some(Api::New),
        _ => None,
    };
    Ok(Chosen {
        exporter: api("trackerExporterVersion"),
        importer: api("trackerImporterVersion"),
    })
}

/// A document of the settings app; `None` where there is none.
pub(super) fn setting(http: &Http, name: &str) -> Result<Option<Json>> {
    document(http, &format!("dataStore/ANDROID_SETTINGS_APP/{name}"))
}

/// A document that a server may not have.
pub(super) fn document(http: &Http, path: &str) -> Result<Option<Json>> {
    match http.get(path, &[]) {
        Ok(document) => Ok(Some(document)),
        // Not installed, or not for this user.
        Err(Error::Refused {
            status: 403 | 404 | 409,
            ..
        }) => Ok(None),
        Err(error) => Err(error),
    }
}
