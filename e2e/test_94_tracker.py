"""Tracker data offline: a copy of a DHIS2 instance, edited by Python's sqlite3, while dhis2.py changes the server and reads what arrived."""
import contextlib
import os
import sqlite3
import subprocess

from dhis2 import Api, RequestException

from harness import BIN, Server, check, cli, cli_raw, equal, folder, integrity, run, sql, test

server = Server()
COPY = os.path.join(folder(), "clinic.gpkg")
MOMENTS = (0.01, 0.04, 0.08, 0.15, 0.25, 0.4, 0.6, 0.9)  # seconds after which an upload is killed
LOGIN = {"HAVERSACK_USER": Server.USER, "HAVERSACK_PASSWORD": Server.PASSWORD}


def tracker(*args, check_code=0):
    return cli("tracker", *args, check_code=check_code, env=LOGIN)


def one(statement):
    return sql(COPY, statement)[0][0]


def edit(statement, *values):
    sql(COPY, statement, *values)


def api():
    return Api(server.http, Server.USER, Server.PASSWORD)


def read(path, **params):
    return api().get(f"tracker/{path}", params={"fields": "*,attributes[*],events[*]", **params}).json()


def missing(path):
    try:
        return api().get(f"tracker/{path}").status_code
    except RequestException as error:
        return error.code


def attributes(found):
    return {entry["attribute"]: entry["value"] for entry in found["attributes"]}


@test
def a_copy_is_made_and_filled():
    told = tracker("login", server.http, "-o", COPY)
    equal("both programs", told["objects"]["programs"], 2)
    told = tracker("download", COPY)
    equal("everybody", told["trackedEntities"], 300)
    equal("people are rows with a place", one("SELECT count(*) FROM Person WHERE geom IS NOT NULL"), 300)
    equal("weights are numbers", one("SELECT count(*) FROM Follow_up_Visit WHERE typeof(weight) = 'real'"), 600)
    equal("it is a GeoPackage", one("SELECT count(*) FROM gpkg_contents WHERE table_name = 'Person' AND data_type = 'features'"), 1)


@test
def edits_on_both_sides_meet_and_nothing_is_overwritten():
    with sqlite3.connect(COPY) as db:
        db.execute("UPDATE Person SET given_name = 'here' WHERE uid = 'hvTe0000001'")
        db.execute("INSERT INTO Person (given_name, org_unit) VALUES ('New', 'hvOuFacil01')")
    for n in (1, 2):
        entity = {"trackedEntity": f"hvTe{n:07}", "trackedEntityType": "hvTeType001", "orgUnit": "hvOuFacil01",
                  "attributes": [{"attribute": "hvAttrName1", "value": "there"}]}
        told = api().post("tracker", json={"trackedEntities": [entity]}, params={"async": "false", "importStrategy": "CREATE_AND_UPDATE"})
        equal("the server takes it", told.json()["status"], "OK")
    told = tracker("download", COPY)
    equal("what changed comes, one of it is left alone", (told["trackedEntities"], told["protected"]), (2, 1))
    equal("here", one("SELECT given_name FROM Person WHERE uid = 'hvTe0000001'"), "here")
    equal("there", one("SELECT given_name FROM Person WHERE uid = 'hvTe0000002'"), "there")
    told = tracker("status", COPY)
    equal("the states", told["states"], {"TO_POST": 1, "TO_UPDATE": 1})
    check("a new row has a uid", one("SELECT length(uid) FROM Person WHERE given_name = 'New'") == 11)


@test
def a_days_work_goes_up_and_what_is_refused_is_corrected_and_sent_again():
    told = tracker("reserve", COPY, "--attribute", "hvAttrSeq01", "--org-unit", "hvOuFacil01", "--take")
    number = told["pools"][0]["value"]
    edit("UPDATE Person SET given_name = 'changed' WHERE uid = 'hvTe0000010'")
    edit("INSERT INTO Person (uid, given_name, org_unit) VALUES ('newPerson01', 'Nia', 'hvOuFacil01')")
    edit("INSERT INTO Follow_up_enrollments (uid, tracked_entity, org_unit, enrolled_at, occurred_at, sequential_id) "
         "VALUES ('newEnroll01', 'newPerson01', 'hvOuFacil01', '2025-11-01', '2025-11-01', ?)", number)
    edit("INSERT INTO Follow_up_Visit (uid, enrollment, org_unit, occurred_at, weight) VALUES ('newEvent001', 'newEnroll01', 'hvOuFacil01', '2025-11-01', 7.5)")
    edit("INSERT INTO Follow_up_Visit (uid, enrollment, org_unit, occurred_at, weight) VALUES ('newEvent002', 'hvEn0000010', 'hvOuFacil01', '2025-11-02', 61.5)")
    gone = one("SELECT uid FROM Follow_up_Visit WHERE enrollment = 'hvEn0000011' LIMIT 1")
    edit("DELETE FROM Follow_up_Visit WHERE uid = ?", gone)
    age = one("SELECT age FROM Follow_up_enrollments WHERE uid = 'hvEn0000012'")
    edit("UPDATE Follow_up_enrollments SET age = -4 WHERE uid = 'hvEn0000012'")

    told = tracker("upload", COPY, check_code=3)
    equal("one is refused, one waits", (len(told["refused"]), told["untold"], told["waiting"]), (1, 0, 1))
    told = tracker("conflicts", COPY, check_code=3)["refused"]
    equal("by its code, field and value", [(c["object"], c["code"], c["field"], c["value"]) for c in told], [("hvEn0000012", "E1007", "hvAttrAge01", "-4")])
    check("with a hint", "correct" in told[0]["hint"], told)
    equal("the rest is there: a changed value", attributes(read("trackedEntities/hvTe0000010"))["hvAttrName1"], "changed")
    enrollment = read("enrollments/newEnroll01")
    equal("a new person", attributes(read("trackedEntities/newPerson01"))["hvAttrName1"], "Nia")
    equal("the reserved value", attributes(enrollment)["hvAttrSeq01"], number)
    equal("the event in it", [event["event"] for event in enrollment["events"]], ["newEvent001"])
    equal("a new event of somebody known", read("events/newEvent002")["dataValues"][0]["value"], "61.5")
    equal("a deletion", missing(f"events/{gone}"), 404)
    equal("the wrong value did not arrive", attributes(read("enrollments/hvEn0000012"))["hvAttrAge01"], str(age))

    edit("UPDATE Follow_up_enrollments SET age = 4 WHERE uid = 'hvEn0000012'")
    told = tracker("upload", COPY)
    equal("only the corrected one is sent", (told["sent"], told["stored"], told["waiting"]), (1, 1, 0))
    equal("it is there", attributes(read("enrollments/hvEn0000012"))["hvAttrAge01"], "4")
    equal("no refusal is kept", tracker("conflicts", COPY)["refused"], [])
    equal("nothing waits", tracker("status", COPY)["pending"], 0)
    equal("nothing comes back", tracker("download", COPY)["removed"], 0)
    equal("what was entered stays", one("SELECT weight FROM Follow_up_Visit WHERE uid = 'newEvent001'"), 7.5)


OF_THE_YEAR = {"dataSet": "hvDataSet01", "orgUnit": "hvOuRoot001", "children": "true", "startDate": "2025-12-01", "endDate": "2026-12-31"}


def reported():
    """What the server has of the data set, by period."""
    told = api().get("dataValueSets", params=OF_THE_YEAR).json()
    return {value["period"]: value["value"] for value in told["dataValues"] if not value.get("deleted")}


def completed():
    told = api().get("completeDataSetRegistrations", params=OF_THE_YEAR).json()
    return sorted(one["period"] for one in told["completeDataSetRegistrations"] if one.get("completed", True) is not False)


@test
def values_of_data_sets_and_completions_go_down_are_edited_and_go_up():
    values = [{"dataElement": "hvDeCases01", "period": period, "orgUnit": "hvOuFacil01", "value": value} for period, value in (("202601", "5"), ("202602", "6"))]
    told = api().post("dataValueSets", json={"dataSet": "hvDataSet01", "dataValues": values})
    equal("the server takes two", told.json()["response"]["importCount"]["imported"], 2)
    api().post("completeDataSetRegistrations", json={"completeDataSetRegistrations": [
        {"dataSet": "hvDataSet01", "period": "202601", "organisationUnit": "hvOuFacil01", "completed": True}]})
    fetch = ("download", COPY, "--only", "aggregate", "--periods", "202601,202602,202603")
    told = tracker(*fetch)["aggregate"]
    equal("they come", (told["dataValues"], told["completions"]), (2, 1))
    equal("as rows", sql(COPY, "SELECT period, value FROM data_values ORDER BY period"), [("202601", "5"), ("202602", "6")])

    edit("UPDATE data_values SET value = '50' WHERE period = '202601'")
    edit("DELETE FROM data_values WHERE period = '202602'")
    edit("INSERT INTO data_values (data_element, period, org_unit, value) VALUES ('hvDeCases01', '202603', 'hvOuFacil01', '7')")
    edit("DELETE FROM data_set_completions WHERE period = '202601'")
    edit("INSERT INTO data_set_completions (data_set, period, org_unit) VALUES ('hvDataSet01', '202603', 'hvOuFacil01')")
    told = tracker("upload", COPY)
    equal("all of it is stored", (told["stored"], told["waiting"], told["refused"]), (5, 0, []))
    equal("an edit, a deletion and a new one are on the server", reported(), {"202601": "50", "202603": "7"})
    equal("and the data sets that are complete", completed(), ["202603"])

    edit("INSERT INTO data_values (data_element, period, org_unit, value) VALUES ('hvDeCases01', '202602', 'hvOuFacil01', 'many')")
    told = tracker("upload", COPY, check_code=3)
    equal("a word is no number", [(c["kind"], c["code"]) for c in told["conflicts"]], [("dataValue", "E7619")])
    equal("it waits, refused", (told["waiting"], tracker("status", COPY, check_code=3)["objects"]["dataValues"]["ERROR"]), (1, 1))
    equal("nothing arrived", reported(), {"202601": "50", "202603": "7"})
    edit("UPDATE data_values SET value = '8' WHERE value = 'many'")
    equal("corrected it goes", tracker("upload", COPY)["stored"], 1)
    equal("it is there", reported(), {"202601": "50", "202602": "8", "202603": "7"})
    tracker(*fetch)
    equal("the copy is as the server", dict(sql(COPY, "SELECT period, value FROM data_values")), reported())
    equal("in what is complete, too", sql(COPY, "SELECT period FROM data_set_completions"), [("202603",)])
    equal("nothing waits", tracker("status", COPY)["pending"], 0)


@test
def a_picture_goes_up_before_the_value_that_names_it_and_comes_down_elsewhere():
    stage = api().get("programStages/hvStage0001", params={"fields": "*"}).json()
    stage["programStageDataElements"].append({"dataElement": {"id": "hvDePhoto01"}})
    told = api().post("metadata", json={"dataElements": [{"id": "hvDePhoto01", "name": "Photo", "valueType": "IMAGE", "domainType": "TRACKER"}], "programStages": [stage]})
    equal("visits have pictures from now on", told.json()["status"], "OK")
    tracker("metadata", COPY)
    picture = bytes(range(256)) * 40
    edit("INSERT INTO files (uid, name, content_type, content) VALUES ('fileLocal01', 'wound.png', 'image/png', ?)", picture)
    edit("UPDATE Follow_up_Visit SET photo = 'fileLocal01' WHERE uid = 'newEvent001'")
    told = tracker("upload", COPY)
    equal("the file and what names it", (told["files"]["sent"], told["stored"], told["waiting"]), (1, 1, 0))
    uid = one("SELECT photo FROM Follow_up_Visit WHERE uid = 'newEvent001'")
    check("the server gave it a uid of its own", uid != "fileLocal01" and len(uid) == 11, uid)
    values = {value["dataElement"]: value["value"] for value in read("events/newEvent001")["dataValues"]}
    equal("the value names it there as here", values["hvDePhoto01"], uid)
    equal("the weight stays", values["hvDeWeight1"], "7.5")
    equal("its name", api().get(f"fileResources/{uid}").json()["name"], "wound.png")

    other = os.path.join(folder(), "other.gpkg")
    tracker("login", server.http, "-o", other)
    person = sql(COPY, "SELECT tracked_entity FROM Follow_up_enrollments WHERE uid = 'newEnroll01'")[0][0]
    tracker("download", other, "--uid", person, "--program", "hvProgram01")
    equal("files come only when they are asked for", sql(other, "SELECT count(*) FROM files"), [(0,)])
    told = tracker("download", other, "--only", "aggregate", "--files", "--max-file-bytes", "100", check_code=3)
    equal("a larger one than is asked for is named", (told["files"]["fetched"], told["files"]["tooLarge"]), (0, [uid]))
    told = tracker("download", other, "--only", "aggregate", "--files")
    equal("it comes", told["files"]["fetched"], 1)
    equal("byte by byte", sql(other, "SELECT name, content FROM files WHERE uid = ?", uid), [("wound.png", picture)])


@test
def an_upload_that_is_killed_is_finished_by_the_same_command():
    """Killed earlier and later: before the request, while the server imports, and while the answer is written down."""
    killed = 0
    for turn, moment in enumerate(MOMENTS):
        with contextlib.closing(sqlite3.connect(COPY)) as db:
            db.executemany("INSERT INTO Follow_up_Visit (uid, enrollment, org_unit, occurred_at, weight) VALUES (?, ?, 'hvOuFacil01', '2025-11-03', ?)",
                           [(f"kill{turn}{n:06}", f"hvEn{n + 20:07}", 50 + turn) for n in range(100)])
            db.execute("UPDATE Person SET given_name = ? WHERE uid BETWEEN 'hvTe0000020' AND 'hvTe0000039'", (f"turn {turn}",))
            db.commit()
        child = subprocess.Popen([BIN, "tracker", "upload", COPY], env={**os.environ, **LOGIN}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            child.wait(moment)
        except subprocess.TimeoutExpired:
            child.kill()
            killed += 1
        child.wait()
        for _ in range(5):  # a job of the killed one may still run
            if tracker("upload", COPY, check_code=(0, 3))["waiting"] == 0:
                break
        equal(f"turn {turn}: nothing waits", tracker("status", COPY)["pending"], 0)
        equal("nothing is refused", tracker("conflicts", COPY)["refused"], [])
    check("it was killed", killed > 0, killed)
    found = read("events", program="hvProgram01", orgUnit="hvOuRoot001", orgUnitMode="DESCENDANTS", occurredAfter="2025-11-03", fields="event", paging="false")
    events = [event["event"] for event in found.get("events", found.get("instances"))]
    equal("every event is on the server once", sorted(e for e in events if e.startswith("kill")), sorted(f"kill{turn}{n:06}" for turn in range(len(MOMENTS)) for n in range(100)))
    names = {attributes(read(f"trackedEntities/hvTe{n:07}"))["hvAttrName1"] for n in range(20, 40)}
    equal("and the last change of everybody", names, {f"turn {len(MOMENTS) - 1}"})
    equal("the file is whole", integrity(COPY), "ok")


@test
def a_server_that_is_gone_says_so_and_leaves_the_copy_alone():
    before = one("SELECT count(*) FROM Person")
    server.stop()
    ended = cli_raw("tracker", "download", COPY, env=LOGIN)
    equal("the code for an unreachable server", ended.returncode, 5)
    equal("nothing went", one("SELECT count(*) FROM Person"), before)
    told = tracker("status", COPY)
    equal("status needs no server", told["pending"], 0)


run()
