"""The commands around serving: import of real data, users and grants with and without a running server, logins, exit codes."""
import json
import os
import stat

import harness as h

FIXTURES = os.path.join(os.environ.get("HAVERSACK_SHARED", ""), "fixtures", "geo")


def point(x, y, **properties):
    return {"type": "Feature", "properties": properties, "geometry": {"type": "Point", "coordinates": [x, y]}}


def geojson(features):
    path = os.path.join(h.folder(), "trees.geojson")
    with open(path, "w") as file:
        json.dump({"type": "FeatureCollection", "features": features}, file)
    return path


@h.test
def real_data_is_imported_whole():
    if not os.path.isdir(FIXTURES):
        raise h.Skipped("the real data is not beside the checkout (../shared/fixtures/geo)")
    data = os.path.join(h.folder(), "data")
    wanted = {}
    for name in sorted(os.listdir(FIXTURES)):
        if name.endswith(".geojson"):
            service = "S" + name.split(".")[0]
            h.cli("import", os.path.join(FIXTURES, name), "--service", service, "--data", data)
            wanted[service] = json.load(open(os.path.join(FIXTURES, name)))["features"]
    server = h.Server(data=data, sample=False)
    token = server.token()
    for service, features in wanted.items():
        rows = h.rows(server.service(service), token=token)
        h.equal(f"{service}: all features", len(rows), len(features))
        field = next((k for k in features[0]["properties"] if k.lower() == "name"), None)
        if field:
            layer = h.good(h.post(f"{server.service(service)}/0", token=token))
            column = next(f["name"] for f in layer["fields"] if f["name"].lower() == "name")
            h.equal(f"{service}: names in every script", sorted(r["attributes"][column] or "" for r in rows.values()), sorted(f["properties"][field] or "" for f in features))
        h.equal(f"{service}: fields", len(h.good(h.post(f"{server.service(service)}/0", token=token))["fields"]), len(features[0]["properties"]) + 2)


@h.test
def an_import_goes_through_the_running_server():
    server = h.Server(sample=False)
    path = geojson([point(1, 2, name="oak", height=7), point(3, 4, name="ash", height=None)])
    made = h.cli("import", path, "--service", "Trees", "--data", server.data)
    h.equal("two rows are told", [layer["rows"] for layer in made["layers"]], [2])
    h.equal("and are served", len(h.rows(server.service("Trees"), token=server.token())), 2)
    more = geojson([point(5, 6, name="elm", height=3)])
    h.cli("import", more, "--service", "Trees", "--layer", "0", "--data", server.data)
    rows = h.rows(server.service("Trees"), token=server.token())
    h.equal("more rows join the layer", sorted(r["attributes"]["name"] for r in rows.values()), ["ash", "elm", "oak"])
    hidden = h.post(f"{server.service('Trees')}/0/query", where="1=1")
    h.check("nobody else sees it until it is granted", "error" in hidden, hidden)


@h.test
def users_and_grants_work_with_and_without_a_server():
    server = h.Server(sample=False)
    h.cli("import", geojson([point(1, 2, name="north"), point(3, 4, name="south")]), "--service", "Trees", "--data", server.data)
    h.cli("user", "add", "ben", "--password-stdin", "--data", server.data, input="bens-word\n")
    h.cli("user", "grant", "ben", "Trees", "read,edit,sync", "--rows", "0:name = 'north'", "--data", server.data)
    listed = h.cli("user", "list", "--data", server.data)
    h.check("the running server lists both users", sorted(u["name"] for u in listed["users"]) == ["ben", server.USER], listed)
    path = os.path.join(h.folder(), "ben.gpkg")
    ben = ["--user", "ben", "--password-stdin"]
    made = h.cli("checkout", server.service("Trees"), "-o", path, *ben, input="bens-word\n")
    h.equal("Ben takes his rows alone", [layer["rows"] for layer in made["layers"]], [1])
    refused = h.cli_raw("checkout", server.service("Trees"), "-o", path + "2", "--user", "ben", "--password-stdin", input="wrong\n")
    h.equal("a wrong password has its own code", refused.returncode, 4)
    refused = h.cli_raw("checkout", server.service("Trees"), "-o", path + "2")
    h.check("without a login the sentence says how to log in", refused.returncode == 4 and "haversack login" in refused.stderr, refused.stderr)

    h.cli("login", server.http, *ben, input="bens-word\n")
    kept = os.path.join(h.CONFIG, "haversack", "logins.toml")
    h.equal("a kept login is readable by its owner alone", stat.S_IMODE(os.stat(kept).st_mode), 0o600)
    h.check("and holds no password", "bens-word" not in open(kept).read())
    h.cli("sync", path)
    h.equal("later commands need no password", h.cli("verify", path)["equal"], True)
    h.equal("Ben sees his replica", [r["name"] for r in h.cli("replicas", server.service("Trees"))], ["ben"])

    h.cli("user", "grant", "ben", "Trees", "read,edit,sync", "--rows", "0:name = 'south'", "--data", server.data)
    outcome = h.cli("sync", path)
    h.equal("another grant changes his rows with the next sync", (outcome["put"], outcome["removed"]), (1, 1))
    h.cli("release", path)
    h.cli("login", server.http, "--forget")

    server.stop()
    h.cli("user", "passwd", "ben", "--password-stdin", "--data", server.data, input="another-word\n")
    h.cli("user", "remove", "ben", "--data", server.data)
    h.equal("without a server the directory is opened", [u["name"] for u in h.cli("user", "list", "--data", server.data)["users"]], [server.USER])


@h.test
def every_failure_is_a_sentence_and_a_code():
    nothing = os.path.join(h.folder(), "nothing.gpkg")
    for args, code in ((("status", nothing), 1), (("sync", nothing), 1), (("frobnicate",), 2),
                       (("checkout", "http://127.0.0.1:9/arcgis/rest/services/X/FeatureServer", "-o", nothing), 5),
                       (("import", nothing, "--service", "X", "--data", h.folder()), 1)):
        done = h.cli_raw("--json", *args)
        h.equal(f"{args[0]}: code {code}", done.returncode, code)
        h.check(f"{args[0]}: no internals in the sentence", done.stderr.strip() and "panicked" not in done.stderr and "Error {" not in done.stderr, done.stderr)
        if code != 2:
            h.check(f"{args[0]}: JSON for programs", json.loads(done.stdout)["error"]["message"])


@h.test
def settings_are_listed_and_a_server_ends_in_time():
    settings = h.cli("config")
    h.check("each setting has a default and a meaning", len(settings) > 20 and all(s["default"] and s["meaning"] for s in settings))
    server = h.Server(extra=("--allow-endpoint", "tcp://127.0.0.1:*", "--allow-endpoint", "http://localhost:1", "--log", "json"))
    h.post(f"{server.service()}/0/query", where="1=1")
    h.check("SIGTERM ends it within ten seconds", server.stop() < 10)
    lines = [line for line in open(server.log.name) if line.strip()]
    h.check("every log line is JSON", lines and all(json.loads(line) for line in lines), lines[:2])


h.run()
