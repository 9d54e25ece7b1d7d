// The feature service face with Esri's own JavaScript client (@esri/arcgis-rest-feature-service), unmodified:
// query, edit, attachments, login. Prints the lines `ok` and `FAIL` that `cargo xtask` adds up.
"use strict";
const assert = require("node:assert");

const { equal, ok, run, test } = require("./harness.cjs");
const { ArcGISIdentityManager, request } = require("@esri/arcgis-rest-request");
const fs_ = require("@esri/arcgis-rest-feature-service");

run(async (root) => {
  const service = `${root}/rest/services/WildfireSync/FeatureServer`;
  const url = `${service}/0`;

  await test("metadata", async () => {
    const layer = await fs_.getLayer({ url });
    equal("getLayer names the id fields", [layer.objectIdField, layer.globalIdField, layer.geometryType], ["OBJECTID", "GlobalID", "esriGeometryPoint"]);
    const all = await fs_.getService({ url: service });
    equal("getService lists layers and tables", [all.layers.length, all.tables.length], [3, 1]);
  });

  await test("query", async () => {
    const { count } = await fs_.queryFeatures({ url, where: "1=1", returnCountOnly: true });
    const features = await fs_.queryFeatures({ url, where: "1=1", outFields: "*" });
    equal("queryFeatures gives as many features as it counts", features.features.length, count);
    const all = await fs_.queryAllFeatures({ url, where: "1=1", outFields: ["OBJECTID"] });
    equal("queryAllFeatures gives the same number", all.features.length, count);
    const seen = new Set();
    for (let more = true; more; ) {
      const page = await fs_.queryFeatures({ url, where: "1=1", outFields: ["OBJECTID"], resultOffset: seen.size, resultRecordCount: 50 });
      page.features.forEach((f) => seen.add(f.attributes.OBJECTID));
      more = page.exceededTransferLimit === true;
    }
    equal("pages of 50 give each feature once", seen.size, count);
    const ids = await fs_.queryFeatures({ url, where: "OBJECTID <= 3", returnIdsOnly: true });
    equal("ids alone", ids.objectIds.slice().sort(), [1, 2, 3]);
    const one = await fs_.getFeature({ url, id: ids.objectIds[0] });
    equal("getFeature gives that feature", one.attributes.OBJECTID, ids.objectIds[0]);
    const stats = await fs_.queryFeatures({ url, where: "1=1", outStatistics: [{ statisticType: "count", onStatisticField: "OBJECTID", outStatisticFieldName: "n" }] });
    equal("statistics", stats.features[0].attributes.n, count);
    await assert.rejects(fs_.queryFeatures({ url, where: "no_such_field = 1" }), (error) => Number.isInteger(error.code) && /no_such_field/.test(error.message + JSON.stringify(error.response)));
    ok("an unknown field is an error that names it");
  });

  let objectId;
  await test("edit", async () => {
    const feature = (name) => ({ attributes: { name }, geometry: { x: -13000000, y: 4000000, spatialReference: { wkid: 3857 } } });
    const added = await fs_.addFeatures({ url, features: [feature("by javascript")] });
    objectId = added.addResults[0].objectId;
    equal("addFeatures", added.addResults[0].success, true);
    const updated = await fs_.updateFeatures({ url, features: [{ attributes: { OBJECTID: objectId, name: "changed" } }] });
    equal("updateFeatures", updated.updateResults[0].success, true);
    const got = await fs_.getFeature({ url, id: objectId });
    equal("the new value and the old place", [got.attributes.name, got.geometry.x], ["changed", -13000000]);
    const edits = await fs_.applyEdits({ url, adds: [feature("a"), feature("b")], updates: [{ attributes: { OBJECTID: objectId, name: "again" } }] });
    equal("applyEdits answers each edit", [edits.addResults.length, edits.updateResults.length, edits.addResults.every((r) => r.success)], [2, 1, true]);
    const deleted = await fs_.deleteFeatures({ url, objectIds: edits.addResults.map((r) => r.objectId) });
    equal("deleteFeatures", deleted.deleteResults.map((r) => r.success), [true, true]);
  });

  await test("attachments", async () => {
    const attachment = new File(["a photo, so to speak"], "photo.txt", { type: "text/plain" });
    const added = await fs_.addAttachment({ url, featureId: objectId, attachment });
    equal("addAttachment", added.addAttachmentResult.success, true);
    const listed = await fs_.getAttachments({ url, featureId: objectId });
    equal("getAttachments", listed.attachmentInfos.map((i) => [i.name, i.size]), [["photo.txt", 20]]);
    const id = listed.attachmentInfos[0].id;
    const replaced = await fs_.updateAttachment({ url, featureId: objectId, attachment: new File(["another"], "photo.txt", { type: "text/plain" }), attachmentId: id });
    equal("updateAttachment", replaced.updateAttachmentResult.success, true);
    const answer = await fetch(`${url}/${objectId}/attachments/${id}`);
    equal("its content", await answer.text(), "another");
    const gone = await fs_.deleteAttachments({ url, featureId: objectId, attachmentIds: [id] });
    equal("deleteAttachments", gone.deleteAttachmentResults.map((r) => r.success), [true]);
    equal("none is left", (await fs_.getAttachments({ url, featureId: objectId })).attachmentInfos, []);
  });

  await test("relationships", async () => {
    const related = await fs_.queryRelated({ url, objectIds: [1, 2, 3, 4, 5], relationshipId: 0, outFields: "*" });
    assert.ok(Array.isArray(related.relatedRecordGroups) && related.relatedRecordGroups.length > 0, JSON.stringify(related).slice(0, 300));
    ok("queryRelated finds related records");
  });

  await test("login", async () => {
    const portal = `${root}/sharing/rest`;
    const manager = await ArcGISIdentityManager.signIn({ username: "editor", password: "secret", portal });
    equal("signIn knows who it is", await manager.getUsername(), "editor");
    const ports = `${root}/rest/services/Ports/FeatureServer/0`;
    const answer = await fs_.queryFeatures({ url: ports, where: "1=1", returnCountOnly: true, authentication: manager });
    assert.ok(answer.count > 20);
    ok("a query with the login's token");
    await assert.rejects(fs_.addFeatures({ url: ports, features: [{ attributes: { name: "x" }, geometry: { x: 0, y: 0 } }] }));
    ok("without a login the ports cannot be edited");
    await assert.rejects(ArcGISIdentityManager.signIn({ username: "editor", password: "wrong", portal }));
    ok("a wrong password is refused");
  });

  await test("replicas by the generic request", async () => {
    const made = await request(`${service}/createReplica`, { params: { replicaName: "js", layers: "0", syncModel: "perReplica", transportType: "esriTransportTypeEmbedded" } });
    assert.ok(made.replicaID && made.layers[0].features.length > 0);
    const synced = await request(`${service}/synchronizeReplica`, { params: { replicaID: made.replicaID, replicaServerGen: made.replicaServerGen, syncDirection: "download", transportType: "esriTransportTypeEmbedded" } });
    assert.ok(synced.replicaServerGen >= made.replicaServerGen);
    equal("create, synchronise, unregister", (await request(`${service}/unRegisterReplica`, { params: { replicaID: made.replicaID } })).success, true);
  });
});
