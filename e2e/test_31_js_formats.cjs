// Answers as other people's JavaScript reads them: protocol buffers by arcgis-pbf-parser, EsriJSON by @terraformer/arcgis. Both must
// say what the server's GeoJSON says. Prints the lines `ok` and `FAIL` that `cargo xtask` adds up.
"use strict";
const assert = require("node:assert");

const { equal, ok, run, test } = require("./harness.cjs");
const parser = require("arcgis-pbf-parser");
const { arcgisToGeoJSON } = require("@terraformer/arcgis");

const decode = parser.default || parser;
// The grid of protocol buffers has steps of 1e-9 degrees.
const NEAR = 2e-9;

// The parts of a geometry, however it is nested: rings and lines by their first position.
function parts(geometry) {
  const found = [];
  const walk = (value) => {
    if (typeof value[0] === "number") return [value];
    if (typeof value[0][0] === "number") found.push(value);
    else value.forEach(walk);
    return found;
  };
  return geometry.type === "Point" ? [[geometry.coordinates]] : walk(geometry.coordinates);
}

// Rings may start anywhere and run either way, so every position is looked for among all of them.
function samePlaces(got, want) {
  const [found, wanted] = [got, want].map((geometry) => parts(geometry).flat());
  const near = (p, q) => Math.abs(p[0] - q[0]) <= NEAR && Math.abs(p[1] - q[1]) <= NEAR;
  return found.length === wanted.length && found.every((p) => wanted.some((q) => near(p, q)));
}

function same(text, got, want) {
  equal(`${text}: as many features`, got.length, want.length);
  const wanted = new Map(want.map((feature) => [feature.properties.OBJECTID, feature]));
  for (const feature of got) {
    const expected = wanted.get(feature.properties.OBJECTID);
    assert.ok(samePlaces(feature.geometry, expected.geometry), `${text}: the place of feature ${feature.properties.OBJECTID}`);
    assert.deepStrictEqual(feature.properties.name, expected.properties.name);
    assert.deepStrictEqual(feature.properties.GlobalID, expected.properties.GlobalID);
  }
  ok(`${text}: every place and name`);
}

run(async (root) => {
  const service = `${root}/rest/services/WildfireSync/FeatureServer`;
  const query = (layer, rest) => fetch(`${service}/${layer}/query?where=1%3D1&outFields=*&${rest}`);
  const json = async (layer, rest) => (await query(layer, rest)).json();
  const pbf = async (layer, rest) => decode(new Uint8Array(await (await query(layer, "f=pbf&" + rest)).arrayBuffer()));

  for (const layer of [0, 1, 2]) {
    await test(`layer ${layer}`, async () => {
      const want = (await json(layer, "f=geojson")).features;
      const read = await pbf(layer, "outSR=4326");
      same(`layer ${layer} by arcgis-pbf-parser`, read.featureCollection.features, want);
      const esri = (await json(layer, "f=json&outSR=4326")).features;
      const converted = esri.map((feature) => ({ properties: feature.attributes, geometry: arcgisToGeoJSON(feature.geometry) }));
      same(`layer ${layer} by terraformer`, converted, want);
    });
  }

  await test("pages, tables and computed rows", async () => {
    equal("a page says that there is more", (await pbf(0, "resultRecordCount=7")).exceededTransferLimit, true);
    equal("the last does not", (await pbf(0, "where=OBJECTID%3C3")).exceededTransferLimit, false);
    const table = (await pbf(3, "")).featureCollection.features;
    equal("a table has rows without places", [table.length > 100, table[0].geometry], [true, null]);
    const statistics = JSON.stringify([{ statisticType: "count", onStatisticField: "OBJECTID", outStatisticFieldName: "n" }]);
    const counted = (await pbf(0, `outStatistics=${encodeURIComponent(statistics)}`)).featureCollection.features;
    equal("statistics come in that form too", counted[0].properties.n, (await json(0, "f=json&returnCountOnly=true")).count);
    const kinds = (await pbf(0, "returnDistinctValues=true&outFields=kind&orderByFields=kind")).featureCollection.features;
    equal("and so do distinct values", kinds.map((row) => row.properties.kind).filter(Boolean), ["camp", "hazard", "origin", "spot", "water"]);
  });
});
