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
    h.equal("the running server lists both users", sorted((u["name"], u["admin"]) for u in listed["users"]), [("ben", False), (server.USER, True)])
    h.check("with the time they were made", all(u["createdAt"] > 1_700_000_000_000 for u in listed["users"]), listed)
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


def fails(args, code, *words, env=None):
    """A command that must fail: with this code, a sentence for people that holds the words, and JSON for programs."""
    done = h.cli_raw("--json", *args, env=env)
    said = done.stderr
    h.check(f"{' '.join(map(str, args))[:90]} ends with {code} and a sentence", done.returncode == code and said.strip(), [done.returncode, said])
    h.check("which has no internals and says what to do", not any(bad in said for bad in ("panicked", "Error {", "Some(", "os error 2")) and all(w in said for w in words), said)
    if code != 2:
        message = json.loads(done.stdout)["error"]["message"]
        h.check("programs get the same words", message.strip() and message in said.replace("\n", " "), [message, said])


@h.test
def what_is_no_replica_file_is_said_so():
    folder = h.folder()
    path = lambda name: os.path.join(folder, name)
    open(path("text.gpkg"), "w").write("hello, I am no database at all")
    open(path("empty.gpkg"), "w").close()
    h.sql(path("plain.gpkg"), "CREATE TABLE a (b)")
    os.mkdir(path("folder.gpkg"))
    for command in (["status"], ["diff"], ["sync"], ["sync", "--dry-run"], ["verify"], ["release"], ["repair"], ["conflicts", "list"], ["conflicts", "show"]):
        more = ["5f"] if command[-1] == "show" else []
        for name, words in (("missing.gpkg", "no such file"), ("text.gpkg", "not a replica file"), ("empty.gpkg", "haversack checkout"), ("plain.gpkg", "haversack checkout"), ("folder.gpkg", "folder")):
            done = h.cli_raw(*command, path(name), *more)
            if done.returncode != 1 or words not in done.stderr or done.stderr.count(name) != 1:
                h.check(f"{command} of {name}", False, [done.returncode, done.stderr])
    h.ok("nine commands say what is wrong with five kinds of other files")


@h.test
def a_checkout_that_cannot_be_says_what_would_do():
    server = h.Server()
    url, folder = server.service(), h.folder()
    path = lambda name: os.path.join(folder, name)
    checkout = lambda url, name, *more: ["checkout", url, "-o", path(name), *more]
    open(path("there.gpkg"), "w").close()
    fails(checkout(url, "there.gpkg"), 1, "exists already")
    fails(checkout(url, "nowhere/x.gpkg"), 1, "no folder")
    fails(checkout(server.service("Nope"), "x.gpkg"), 4, "--user")
    fails(checkout(server.http, "x.gpkg"), 1, "FeatureServer")
    fails(checkout("127.0.0.1:8080", "x.gpkg"), 1, "https://")
    fails(checkout("http://127.0.0.1:9/arcgis/rest/services/X/FeatureServer", "x.gpkg"), 5, "did not answer")
    fails(checkout(server.service(base=server.https), "x.gpkg"), 1, "--ca")
    fails(checkout(url, "x.gpkg", "--layers", "9"), 1, "it has 0 (Wildfire Response Points)")
    fails(checkout(url, "x.gpkg", "--layers", "points"), 2, "numbers")
    fails(checkout(url, "x.gpkg", "--where", "nope = 1"), 1, "nope")
    fails(checkout(url, "x.gpkg", "--where", "name ="), 1, "expected a value")
    fails(checkout(url, "x.gpkg", "--where", "9:name = 'a'"), 1, "layer 9")
    fails(checkout(url, "x.gpkg", "--layers", "0", "--where", "2:kind = 'a'"), 1, "layer 2")
    fails(checkout(url, "x.gpkg", "--where", "name = 'x'; drop table a"), 1, "one clause")
    fails(checkout(url, "x.gpkg", "--bbox", "1,2,3"), 1, "west,south,east,north")
    fails(checkout(url, "x.gpkg", "--bbox", "10,0,5,5"), 1, "west")
    fails(checkout(url, "x.gpkg", "--bbox", "-13000000,4000000,-12000000,5000000"), 1, "degrees")
    fails(checkout(url, "x.gpkg", "--token", "abc"), 4, "log in again")
    fails(checkout(url, "x.gpkg", "--user", "editor"), 1, "--password-stdin")
    fails(checkout(url, "x.gpkg", "--user", "editor"), 4, "wrong", env={"HAVERSACK_PASSWORD": "wrong"})
    fails(checkout(url, "x.gpkg", "--user", "nobody"), 4, "wrong", env={"HAVERSACK_PASSWORD": "wrong"})
    fails(checkout(server.service("Ports"), "x.gpkg"), 4, "sync", "--user")
    fails(checkout(url, "x.gpkg", "--ca", path("no.pem")), 1, "no.pem", "not found")
    fails(checkout(url, "x.gpkg", "--ca", path("there.gpkg")), 1, "no certificate")
    fails(checkout(url, "x.gpkg", "--ca", path("there.gpkg"), "--geoservices"), 1, "no certificate")
    h.equal("no attempt left a file", sorted(os.listdir(folder)), ["there.gpkg"])
    whole = h.cli("checkout", server.service(base=server.https) + "/3", "-o", path("one.gpkg"), "--ca", os.path.join(server.data, "certificate.pem"))
    h.equal("a URL may name its layer", [layer["id"] for layer in whole["layers"]], [3])
    world = h.cli(*checkout(url, "world.gpkg", "--layers", "0,0", "--bbox", "-180,-90,180,90"))
    h.equal("the box of the whole world holds every point", world["layers"][0]["rows"], len(h.rows(url)))


@h.test
def administration_that_cannot_be_says_why():
    server = h.Server()
    data, folder = ["--data", server.data], h.folder()
    path = lambda name: os.path.join(folder, name)
    word = {"HAVERSACK_PASSWORD": "long enough"}
    fails(["user", "list", "--data", path("typo")], 1, "haversack serve")
    h.check("a mistyped name makes no data directory", not os.path.exists(path("typo")))
    fails(["user", "add", "ben", *data], 1, "characters", env={"HAVERSACK_PASSWORD": "x"})
    fails(["user", "add", "editor", *data], 1, "already", env=word)
    fails(["user", "add", "anonymous", *data], 1, "everybody", env=word)
    fails(["user", "add", "a b/c", *data], 1, "letters", env=word)
    fails(["user", "grant", "editor", "Nope", "read", *data], 1, "no service")
    fails(["user", "grant", "cara", "Ports", "read", *data], 1, "no user")
    fails(["user", "grant", "editor", "Ports", "fly", *data], 1, "publish")
    fails(["user", "grant", "editor", "Ports", "read", "--rows", "0:nope = 1", *data], 1, "no field")
    fails(["user", "grant", "editor", "Ports", "read", "--rows", "name = 'a'", *data], 1, "LAYER:WHERE")
    fails(["user", "remove", "editor", *data], 1, "last administrator")
    for stopped in (False, True):
        if stopped:
            server.stop()
        open(path("text.gpkg"), "w").write("no database, but some text that is long enough for a header" * 10)
        open(path("bad.geojson"), "w").write('{"type":"FeatureCollection","features":[{"type"')
        big = geojson([point(n, 1, n=n) for n in range(6000)] + [{"type": "Feature", "geometry": {"type": "Nonsense"}, "properties": {}}])
        fails(["import", path("no.geojson"), "--service", "X", *data], 1, "no.geojson")
        fails(["import", path("text.gpkg"), "--service", "X", *data], 1, "text.gpkg", "GeoPackage")
        fails(["import", path("bad.geojson"), "--service", "X", *data], 1, "bad.geojson", "line 1")
        fails(["import", big, "--service", "X", *data], 1, "feature 6001")
        fails(["import", big, "--service", "not a name", *data], 1, "letters")
        fails(["import", big, "--service", "X", "--layer", "0", *data], 1)
        h.check("a service that could not be imported is not there", not os.path.exists(os.path.join(server.data, "services", "X.gpkg")))
    open(path("file"), "w").close()
    fails(["serve", path("file")], 1, "not a folder")
    taken = h.socket.create_server(("127.0.0.1", 0))
    fails(["serve", path("new"), "--port", taken.getsockname()[1]], 1, "--port")
    taken.close()


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
