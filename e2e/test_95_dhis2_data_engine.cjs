// @dhis2/data-engine, unmodified: the queries and mutations that apps of DHIS2 make.
"use strict";
const { execFileSync } = require("node:child_process");
const fs = require("node:fs");
const path = require("node:path");
const { DataEngine, RestAPILink } = require("@dhis2/data-engine");
const { equal, run, test } = require("./harness.cjs");

const METADATA = JSON.parse(fs.readFileSync(path.join(__dirname, "..", "crates", "dhis2", "samples", "metadata.json"), "utf8"));
const UNITS = { orgUnits: "hvOuRoot001", orgUnitMode: "DESCENDANTS" };

async function errorOf(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("no error");
}

run(async (base, folder) => {
  const origin = new URL(base).origin;
  const engine = (token, apiVersion = 41) => new DataEngine(new RestAPILink({ baseUrl: origin, apiVersion, serverVersion: { major: 2, minor: 41 }, apiToken: token }));
  const login = async (username) => {
    const body = new URLSearchParams({ username, password: "secret", client: "requestip", expiration: "60", f: "json" });
    const answer = await fetch(`${origin}/arcgis/sharing/rest/generateToken`, { method: "POST", body });
    return engine((await answer.json()).token);
  };
  const data = await login("editor");

  await test("several resources are queried at once, page by page", async () => {
    const { me, info, units, one } = await data.query({
      me: { resource: "me", params: { fields: ["id", "username"] } },
      info: { resource: "system/info" },
      units: { resource: "organisationUnits", params: { fields: "id,name", order: "name:asc", pageSize: 2, filter: ["level:eq:2", "name:like:clinic"] } },
      one: { resource: "programs", id: "hvProgram01", params: { fields: ["id", "programStages[id]"] } },
    });
    equal("who asks", me.username, "editor");
    equal("the version", info.version.startsWith("2.41"), true);
    equal("filtered and ordered", units.organisationUnits.map((unit) => unit.name), ["North clinic", "South clinic"]);
    equal("one object with what is in it", one.programStages, [{ id: "hvStage0001" }]);
    const query = { units: { resource: "organisationUnits", params: ({ page }) => ({ page, pageSize: 2, fields: "id" }) } };
    const seen = [];
    for (let page = 1, pages = 1; page <= pages && page < 10; page++) {
      const { units: found } = await data.query(query, { variables: { page } });
      pages = found.pager.pageCount;
      seen.push(...found.organisationUnits.map((unit) => unit.id));
    }
    equal("every unit once", seen.sort(), ["hvOuFacil01", "hvOuFacil02", "hvOuRoot001"]);
    equal("the ping", await data.query({ ping: { resource: "ping" } }), { ping: "pong" });
  });

  await test("objects are made, changed and deleted", async () => {
    const person = { trackedEntity: "jsPerson001", trackedEntityType: "hvTeType001", orgUnit: "hvOuFacil01", attributes: [{ attribute: "hvAttrName1", value: "Nia" }] };
    const send = (importStrategy, object) =>
      data.mutate({ resource: "tracker", type: "create", params: { async: false, importStrategy }, data: { trackedEntities: [object] } });
    equal("made", (await send("CREATE_AND_UPDATE", person)).stats.created, 1);
    person.attributes[0].value = "Ada";
    equal("changed", (await send("CREATE_AND_UPDATE", person)).stats.updated, 1);
    const read = { person: { resource: "tracker/trackedEntities", id: "jsPerson001", params: { fields: ["trackedEntity", "attributes[attribute,value]"] } } };
    equal("read", (await data.query(read)).person.attributes, [{ attribute: "hvAttrName1", value: "Ada" }]);
    const list = { people: { resource: "tracker/trackedEntities", params: { ...UNITS, program: "hvProgram01", page: 2, pageSize: 100, fields: ["trackedEntity"], totalPages: true } } };
    const { people } = await data.query(list);
    equal("a page of many", [people.pager.page, people.pager.pageCount, (people.trackedEntities || people.instances).length], [2, 3, 100]);
    equal("deleted", (await send("DELETE", { trackedEntity: "jsPerson001" })).stats.deleted, 1);
    const gone = await errorOf(data.query(read));
    equal("gone", [gone.type, gone.details.httpStatusCode], ["unknown", 404]);

    await data.mutate({ resource: "dataStore/app/settings", type: "create", data: { colour: "blue" } });
    await data.mutate({ resource: "dataStore/app", id: "settings", type: "update", data: { colour: "red" } });
    const settings = { settings: { resource: "dataStore/app", id: "settings" } };
    equal("an entry is replaced", (await data.query(settings)).settings, { colour: "red" });
    await data.mutate({ resource: "dataStore/app", id: "settings", type: "delete" });
    equal("and deleted", (await errorOf(data.query(settings))).details.httpStatusCode, 404);

    const groups = "organisationUnitGroups";
    const made = await data.mutate({ resource: groups, type: "create", data: { id: "jsGroup0001", name: "Clinics" } });
    equal("one object is made", made.response.uid, "jsGroup0001");
    const group = { group: { resource: groups, id: "jsGroup0001", params: { fields: "name,organisationUnits[id]" } } };
    await data.mutate({ resource: groups, id: "jsGroup0001", type: "json-patch", data: [{ op: "add", path: "/organisationUnits/-", value: { id: "hvOuFacil01" } }] });
    await data.mutate({ resource: `${groups}/jsGroup0001/organisationUnits/hvOuFacil02`, type: "create", data: {} });
    equal("patched", (await data.query(group)).group, { name: "Clinics", organisationUnits: [{ id: "hvOuFacil01" }, { id: "hvOuFacil02" }] });
    await data.mutate({ resource: groups, id: "jsGroup0001", type: "update", data: { name: "All" } });
    equal("replaced", (await data.query(group)).group, { name: "All" });
    await data.mutate({ resource: groups, id: "jsGroup0001", type: "delete" });
    equal("and deleted", (await errorOf(data.query(group))).details.httpStatusCode, 404);

    const unit = { ...METADATA.organisationUnits[2], name: "Southern clinic" };
    equal("metadata", (await data.mutate({ resource: "metadata", type: "create", data: { organisationUnits: [unit] } })).response.stats.updated, 1);
  });

  await test("a refusal is told with its details", async () => {
    const wrong = { trackedEntity: "jsPerson002", trackedEntityType: "hvTeType001", orgUnit: "aBcDeFgHiJk" };
    const refused = await errorOf(data.mutate({ resource: "tracker", type: "create", params: { async: false }, data: { trackedEntities: [wrong] } }));
    equal("409 is about access", refused.type, "access");
    equal("with the report", [refused.details.status, refused.details.validationReport.errorReports[0].errorCode], ["ERROR", "E1049"]);
    const nobody = await errorOf(engine("wrong").query({ me: { resource: "me" } }));
    equal("401", [nobody.type, nobody.details.httpStatusCode], ["access", 401]);
    const user = (...args) => execFileSync(process.env.HAVERSACK_BIN, ["user", ...args, "--data", path.join(folder, "data")], { input: "secret" });
    user("add", "reader", "--password-stdin");
    user("grant", "reader", "dhis2", "read");
    const reader = await login("reader");
    const forbidden = await errorOf(reader.mutate({ resource: "dataStore/app/settings", type: "create", data: {} }));
    equal("403", [forbidden.type, forbidden.details.httpStatusCode], ["access", 403]);
  });
});
