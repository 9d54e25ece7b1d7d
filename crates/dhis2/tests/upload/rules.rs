//! What a program rule of the server refuses is shown like any refusal, and goes when it is mended.

use serde_json::json;

use crate::world::{NEW, OLD, World};

#[test]
fn what_a_rule_refuses_is_shown_with_its_sentence_and_a_hint_until_it_is_mended() {
    for api in [NEW, OLD] {
        let world = World::new();
        let rules = json!({
            "programRuleVariables": [{"id": "hvRuleVar01", "name": "weight", "program": {"id": "hvProgram01"},
                "programRuleVariableSourceType": "DATAELEMENT_CURRENT_EVENT", "dataElement": {"id": "hvDeWeight1"}}],
            "programRules": [{"id": "hvRuleHeavy", "name": "Heavy", "program": {"id": "hvProgram01"}, "condition": "#{weight} > 200",
                "programRuleActions": [{"id": "hvActHeavy1"}]}],
            "programRuleActions": [{"id": "hvActHeavy1", "programRuleActionType": "SHOWERROR", "content": "nobody is as heavy",
                "dataElement": {"id": "hvDeWeight1"}}]
        });
        let told = world.http.post("metadata", &[], Some(&rules)).unwrap();
        assert_eq!(told.status, 200, "{}", told.body);
        world.family(1);
        world.family(2);
        world.sql("UPDATE follow_up_visit SET weight = 300 WHERE uid = 'hvEv0000001'");
        let told = world.upload(api);
        assert_eq!((told.applied, told.rejected.len()), (5, 1), "{api:?}");
        let states = world.unsettled();
        assert_eq!(states.len(), 1, "{states:?}");
        let (uid, state, reason) = &states[0];
        assert_eq!((uid.as_str(), state.as_str()), ("hvEv0000001", "ERROR"));
        assert!(reason.contains("nobody is as heavy"), "{reason}");
        let conflicts = world.conflicts();
        assert_eq!(conflicts.len(), 1, "{conflicts:?}");
        let conflict = &conflicts[0].conflict;
        assert_eq!(conflict.code, "E1300", "{api:?}");
        assert!(
            conflict.hint.contains("a rule of the program forbids it"),
            "{conflict:?}"
        );
        world.sql("UPDATE follow_up_visit SET weight = 30 WHERE uid = 'hvEv0000001'");
        let told = world.upload(api);
        assert_eq!((told.applied, told.rejected.len()), (1, 0), "{api:?}");
        assert!(world.states().is_empty() && world.conflicts().is_empty());
    }
}

#[test]
fn a_status_that_the_server_does_not_take_is_shown_and_keeps_what_was_edited() {
    for api in [NEW, OLD] {
        let world = World::new();
        world.family(1);
        world.upload(api);
        // Together with a value, which is sent again with a status that fits.
        world.sql("UPDATE follow_up_visit SET status = 'SKIPPED', scheduled_at = '2026-10-02', weight = 12 WHERE uid = 'hvEv0000001'");
        let told = world.upload(api);
        assert_eq!((told.applied, told.rejected.len()), (0, 1), "{api:?}");
        let (uid, state, reason) = &world.unsettled()[0];
        assert_eq!((uid.as_str(), state.as_str()), ("hvEv0000001", "ERROR"));
        assert!(
            reason.contains("from status `ACTIVE` back to `SKIPPED`"),
            "{reason}"
        );
        let conflicts = world.conflicts();
        let codes: Vec<&str> = conflicts
            .iter()
            .map(|of| of.conflict.code.as_str())
            .collect();
        assert_eq!(codes, ["E1315", "E1316"], "{api:?}");
        for conflict in &conflicts {
            assert!(
                conflict.conflict.hint.contains("status")
                    || conflict.conflict.hint.contains("active"),
                "{conflict:?}"
            );
        }
        world.sql("UPDATE follow_up_visit SET status = 'ACTIVE' WHERE uid = 'hvEv0000001'");
        let told = world.upload(api);
        assert_eq!((told.applied, told.rejected.len()), (1, 0), "{api:?}");
        assert!(world.states().is_empty() && world.conflicts().is_empty());
        let stored = world.entity(1).to_string();
        assert!(stored.contains("\"value\":\"12\""), "{stored}");
    }
}

#[test]
fn an_event_that_a_rule_plans_is_told_and_no_edit_waits_for_it() {
    for api in [NEW, OLD] {
        let world = World::new();
        let rules = json!({"programRules": [{"id": "hvRulePlan1", "name": "Again", "program": {"id": "hvProgram01"}, "condition": "V{event_count} > 0",
            "programRuleActions": [{"id": "hvActPlan01", "programRuleActionType": "SCHEDULEEVENT", "data": "d2:addDays(V{event_date}, 28)",
                "programStage": {"id": "hvStage0001"}}]}]});
        let told = world.http.post("metadata", &[], Some(&rules)).unwrap();
        assert_eq!(told.status, 200, "{}", told.body);
        world.family(1);
        let told = world.upload(api);
        assert_eq!((told.applied, told.rejected.len()), (3, 0), "{api:?}");
        assert!(world.unsettled().is_empty() && world.states().is_empty());
        let stored = world.entity(1).to_string();
        assert_eq!(stored.matches("\"SCHEDULE\"").count(), 1, "{stored}");
        let conflicts = world.conflicts();
        let codes: Vec<&str> = conflicts
            .iter()
            .map(|of| of.conflict.code.as_str())
            .collect();
        // The old importer tells of no warnings.
        assert_eq!(
            codes,
            if api == NEW { vec!["E1320"] } else { vec![] },
            "{api:?}"
        );
        assert!(conflicts.iter().all(|of| of.conflict.is_warning));
        assert_eq!(world.upload(api).applied, 0, "{api:?}");
    }
}
