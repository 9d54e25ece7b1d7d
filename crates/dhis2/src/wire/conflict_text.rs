//! The sentences by which importers refuse, taken apart: code, attribute or data element, value; and a hint for each code.
//!
//! The old importer has no codes; those here are the ones that the new one gives for the same. What is not recognised keeps its text.
//! Source: `spec/dhis2.md` 6 and 7.3.

use super::report::Problem;
use super::uid;

/// What a placeholder of a sentence stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Attribute,
    DataElement,
    Value,
    Ignored,
}
use Part::{Attribute, DataElement, Ignored, Value};

/// A sentence with `*` for any text and `@` for a uid, its code, and what the placeholders are.
type Sentence = (&'static str, &'static str, &'static [Part]);

const SUMMARIES: &[Sentence] = &[
    (
        "Value '*' is not a valid * for attribute @ and option set @",
        "E1007",
        &[Value, Ignored, Attribute, Ignored],
    ),
    (
        "Value '*' is not a valid option for attribute @ and option set @",
        "E1007",
        &[Value, Attribute, Ignored],
    ),
    (
        "Value '*' is not a valid * for attribute @",
        "E1007",
        &[Value, Ignored, Attribute],
    ),
    (
        "Value '*' is not true (true-only type) for attribute @",
        "E1007",
        &[Value, Attribute],
    ),
    (
        "Value '*' is not the uid of a file for attribute @",
        "E1007",
        &[Value, Attribute],
    ),
    ("Value '*' is not the uid of a file", "E1084", &[Value]),
    ("Missing mandatory attribute @", "E1018", &[Attribute]),
    (
        "Non-unique attribute value '*' for attribute @",
        "E1064",
        &[Value, Attribute],
    ),
    ("TrackedEntityInstance '*' not found.", "E1063", &[Ignored]),
    (
        "TrackedEntityInstance '*' has invalid TrackedEntityType.",
        "E1005",
        &[Ignored],
    ),
    ("ProgramInstance '*' not found.", "E1081", &[Ignored]),
    (
        "ProgramInstance '*' has invalid Program.",
        "E1069",
        &[Ignored],
    ),
    ("ProgramStageInstance '*' not found.", "E1032", &[Ignored]),
    (
        "File resource with uid '*' has already been assigned to a different object",
        "E1009",
        &[Value],
    ),
    (
        "Tracked entity instance @ cannot be deleted as it has associated enrollments *",
        "E1100",
        &[Ignored, Ignored],
    ),
    (
        "Enrollment @ cannot be deleted as it has associated events *",
        "E1103",
        &[Ignored, Ignored],
    ),
    ("Relationship '*' not found.", "E4017", &[Ignored]),
    (
        "Relationship '*' is already deleted and cannot be modified.",
        "E4017",
        &[Ignored],
    ),
];

/// Words that stand for a problem with a data element's value.
const VALUE_WORDS: &[&str] = &[
    "value_not_numeric",
    "value_not_unit_interval",
    "value_not_percentage",
    "value_not_integer",
    "value_not_positive_integer",
    "value_not_negative_integer",
    "value_not_zero_or_positive_integer",
    "value_not_bool",
    "value_not_true_only",
    "value_not_valid_date",
    "value_not_valid_datetime",
    "value_not_coordinate",
    "value_not_url",
    "value_not_valid_file_resource_uid",
];

const REPORTS: &[Sentence] = &[
    (
        "Non-unique attribute value `*` for attribute `@`*",
        "",
        &[Value, Attribute, Ignored],
    ),
    (
        "Missing mandatory attribute `@`*",
        "",
        &[Attribute, Ignored],
    ),
    ("Attribute: `@`*", "", &[Attribute, Ignored]),
    (
        "Mandatory DataElement `@` is not present*",
        "",
        &[DataElement, Ignored],
    ),
    ("DataElement `@`*", "", &[DataElement, Ignored]),
    (
        "Value `*` for attribute `@`*",
        "",
        &[Value, Attribute, Ignored],
    ),
];

/// Reads a conflict of an import summary: what it is about, and what it says.
pub fn in_summary(object: &str, said: &str) -> Problem {
    let mut problem = Problem {
        message: said.to_owned(),
        ..Problem::default()
    };
    if said == "Value does not match the attribute pattern" {
        "E1008".clone_into(&mut problem.code);
        problem.attribute = Some(object.to_owned());
        return problem;
    }
    if said == "value_required_but_not_provided" || VALUE_WORDS.contains(&said) {
        problem.data_element = Some(object.to_owned());
        return problem;
    }
    read(SUMMARIES, said, &mut problem);
    problem
}

/// Reads the message of a job report; the code is told beside it.
pub fn in_report(said: &str) -> Problem {
    let mut problem = Problem {
        message: said.to_owned(),
        ..Problem::default()
    };
    read(REPORTS, said, &mut problem);
    problem
}

fn read(sentences: &[Sentence], said: &str, problem: &mut Problem) {
    for (template, code, parts) in sentences {
        let Some(found) = capture(template, said) else {
            continue;
        };
        (*code).clone_into(&mut problem.code);
        for (part, text) in parts.iter().zip(found) {
            match part {
                Attribute => problem.attribute = Some(text.to_owned()),
                DataElement => problem.data_element = Some(text.to_owned()),
                Value => problem.value = Some(text.to_owned()),
                Ignored => {}
            }
        }
        return;
    }
}

/// What stands for the placeholders; the text must be used up. A `*` ends at the last place where the rest still fits, so a value may
/// hold what follows it in the sentence.
fn capture<'a>(template: &str, text: &'a str) -> Option<Vec<&'a str>> {
    let Some(at) = template.find(['*', '@']) else {
        return (template == text).then(Vec::new);
    };
    let rest = text.strip_prefix(&template[..at])?;
    let after = &template[at + 1..];
    let with = |length: usize| {
        let mut found = vec![rest.get(..length)?];
        found.extend(capture(after, rest.get(length..)?)?);
        Some(found)
    };
    if template.as_bytes()[at] == b'@' {
        return rest
            .get(..uid::LENGTH)
            .filter(|word| is_word(word))
            .and_then(|_| with(uid::LENGTH));
    }
    if after.is_empty() {
        return with(rest.len());
    }
    let literal = &after[..after.find(['*', '@']).unwrap_or(after.len())];
    let ends = rest.match_indices(literal).map(|(end, _)| end);
    ends.collect::<Vec<_>>().into_iter().rev().find_map(with)
}

fn is_word(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// What someone in the field can do about a code; `None` for codes that say all themselves.
pub fn hint(code: &str) -> Option<&'static str> {
    Some(match code {
        "E1000" | "E7617" => {
            "the organisation unit is not one in which you may enter data: choose another or ask for access"
        }
        "E1001" | "E1091" | "E1095" => {
            "you may not enter data of this type or program: ask for access"
        }
        "E1005" | "E1010" | "E1013" | "E1011" | "E1069" | "E1070" | "E1006" | "E1304" => {
            "the server does not know this any more: download the metadata again"
        }
        "E1007" | "E1302" | "E1125" | "E7619" | "E7621" => {
            "the value does not fit its type or its options: correct it"
        }
        "E1008" | "E1077" => "the value does not fit the pattern or is too long: correct it",
        "E1009" | "E1084" => "the file must be attached again",
        "E1015" => {
            "there is an active enrollment in this program already: complete it, or add to it"
        }
        "E1016" => "this program enrolls once only: add to the enrollment that there is",
        "E1018" | "E1076" | "E1090" | "E1303" => "a value that is needed is missing: fill it in",
        "E1019" | "E1305" => {
            "the program or stage does not have this field any more: download the metadata again"
        }
        "E1020" | "E1021" => "the date lies in the future: correct it",
        "E1022" | "E1029" | "E1041" | "E1079" | "E1089" => {
            "program, stage and organisation unit do not belong together: check them"
        }
        "E1039" => "this stage cannot be repeated: change the event that there is",
        "E1031" | "E1023" | "E1025" | "E1050" => "a date is missing: fill it in",
        "E1064" => {
            "another record has this value: check whether it is the same person, or take another value"
        }
        "E1063" | "E1032" | "E1081" | "E1048" => {
            "the server does not know this record: send its parent first"
        }
        "E1082" | "E1113" | "E1114" | "E4017" => {
            "it was deleted on the server: keep your copy as a new record, or drop it"
        }
        "E1100" | "E1103" => "only somebody with the right to delete what is below may delete it",
        "E1102" | "E1104" | "E1324" => {
            "another organisation unit owns it: ask for it to be handed over, or break the glass"
        }
        "E5000" => "what it belongs to was refused: correct that, and this is sent again",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_sentences_of_the_old_importer_are_taken_apart() {
        for (object, said, code, attribute, element, value) in [
            (
                "Attribute.value",
                "Value '201921212' is not a valid date for attribute iESIqZ0R0R0",
                "E1007",
                "iESIqZ0R0R0",
                "",
                "201921212",
            ),
            (
                "",
                "Value 'it's' is not a valid option for attribute iESIqZ0R0R0 and option set aBcDeFgHiJk",
                "E1007",
                "iESIqZ0R0R0",
                "",
                "it's",
            ),
            (
                "",
                "Non-unique attribute value 'A-17' for attribute lZGmxYbs97q",
                "E1064",
                "lZGmxYbs97q",
                "",
                "A-17",
            ),
            (
                "",
                "Missing mandatory attribute lZGmxYbs97q",
                "E1018",
                "lZGmxYbs97q",
                "",
                "",
            ),
            (
                "lZGmxYbs97q",
                "Value does not match the attribute pattern",
                "E1008",
                "lZGmxYbs97q",
                "",
                "",
            ),
            (
                "a3kGcGDCuk6",
                "value_not_numeric",
                "",
                "",
                "a3kGcGDCuk6",
                "",
            ),
            (
                "",
                "Relationship 'wOhCbIpmVCp' is already deleted and cannot be modified.",
                "E4017",
                "",
                "",
                "",
            ),
            (
                "",
                "Tracked entity instance aBcDeFgHiJk cannot be deleted as it has associated enrollments and user does not have authority F_TEI_CASCADE_DELETE",
                "E1100",
                "",
                "",
                "",
            ),
            ("", "something else", "", "", "", ""),
        ] {
            let problem = in_summary(object, said);
            let told = |field: &Option<String>| field.clone().unwrap_or_default();
            assert_eq!(problem.code, code, "{said}");
            assert_eq!(told(&problem.attribute), attribute, "{said}");
            assert_eq!(told(&problem.data_element), element, "{said}");
            assert_eq!(told(&problem.value), value, "{said}");
            assert_eq!(problem.message, said);
        }
    }

    #[test]
    fn the_sentences_of_job_reports_are_taken_apart() {
        let problem = in_report("Non-unique attribute value `A-17` for attribute `lZGmxYbs97q`.");
        assert_eq!(problem.attribute.as_deref(), Some("lZGmxYbs97q"));
        assert_eq!(problem.value.as_deref(), Some("A-17"));
        let problem = in_report("Mandatory DataElement `a3kGcGDCuk6` is not present");
        assert_eq!(problem.data_element.as_deref(), Some("a3kGcGDCuk6"));
    }

    #[test]
    fn codes_have_hints_that_say_what_to_do() {
        assert!(hint("E1064").is_some_and(|hint| hint.contains("value")));
        assert_eq!(hint("E9999"), None);
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reader(object in ".{0,12}", said in ".{0,80}") {
            prop_assert_eq!(in_summary(&object, &said).message, said);
        }
        #[test]
        fn any_value_is_found_in_its_sentence(value in "[^\u{0}]{0,20}") {
            let said = format!("Non-unique attribute value '{value}' for attribute lZGmxYbs97q");
            prop_assert_eq!(in_summary("", &said).value, Some(value));
        }
    }
}
