"""Tracker data offline: a copy of a DHIS2 instance, edited by Python's sqlite3, while dhis2.py changes the server."""
import os
import sqlite3

from dhis2 import Api

from harness import Server, check, cli, cli_raw, equal, folder, run, test

server = Server()
COPY = os.path.join(folder(), "clinic.gpkg")
LOGIN = {"HAVERSACK_USER": Server.USER, "HAVERSACK_PASSWORD": Server.PASSWORD}


def tracker(*args, check_code=0):
    return cli("tracker", *args, check_code=check_code, env=LOGIN)


def one(sql):
    with sqlite3.connect(COPY) as db:
        return db.execute(sql).fetchone()[0]


def api():
    return Api(server.http, Server.USER, Server.PASSWORD)


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
def a_server_that_is_gone_says_so_and_leaves_the_copy_alone():
    before = one("SELECT count(*) FROM Person")
    server.stop()
    ended = cli_raw("tracker", "download", COPY, env=LOGIN)
    equal("the code for an unreachable server", ended.returncode, 5)
    equal("nothing went", one("SELECT count(*) FROM Person"), before)
    told = tracker("status", COPY)
    equal("status needs no server", told["pending"], 2)


run()
