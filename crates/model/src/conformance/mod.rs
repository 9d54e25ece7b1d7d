//! The suite that every [`Store`](crate::Store) passes: one function per rule, each on a fresh store that holds
//! [`fixture::service`].
//!
//! A backend's tests call [`store_conformance!`](crate::store_conformance) with a function that makes such a store;
//! a rule that is broken panics with what was expected. Rule source: DESIGN 4, GUARANTEES 2.2 and 2.3.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a suite of tests: it fails by panicking, and the names of its rules say what they are"
)]

pub mod books;
pub mod documents;
pub mod feed;
pub mod fixture;
pub mod queries;
pub mod records;
pub mod retention;
pub mod shape;

/// Makes a module of tests, one for each rule, for a store that `make` creates from a `&Service`.
#[macro_export]
macro_rules! store_conformance {
    ($name:ident, $make:expr) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            $crate::store_conformance!(@rules $make;
                records: a_record_comes_back_as_it_was_put,
                a_row_of_71_columns_comes_back, texts_of_many_scripts_come_back,
                a_put_of_a_known_id_replaces_and_keeps_the_object_id,
                a_deleted_record_is_gone_and_has_a_tombstone, deleting_the_unknown_says_so,
                an_undeleted_record_is_one_record, a_refused_record_leaves_no_trace,
                a_dropped_transaction_leaves_no_trace, a_savepoint_undoes_only_what_followed,
                a_transaction_reads_its_own_writes, a_snapshot_does_not_move,
                attachments_are_records_of_a_hidden_collection;
                feed: generations_are_dense_and_in_commit_order,
                the_stamp_grows_with_every_commit_whatever_the_clock,
                revisions_grow_and_ignore_a_clock_that_goes_back,
                a_commit_without_changes_takes_nothing, a_sealed_transaction_keeps_only_books,
                changes_come_once_each_in_generation_order,
                a_record_that_left_the_filter_was_matched_then,
                a_record_that_entered_the_filter_was_not_matched_then,
                a_record_deleted_after_the_cursor_was_matched_if_it_was_in,
                a_record_made_and_deleted_after_the_cursor_was_never_in,
                a_touch_is_a_change_without_history, a_touch_keeps_revision_and_content,
                a_parent_that_changed_is_seen_as_of_then, a_taken_generation_is_nobodys,
                membership_lists_what_one_filter_has_and_the_other_not,
                changes_stop_when_told, live_records_page_by_generation;
                queries: null_is_neither_equal_nor_different, like_heeds_case_and_escapes,
                dates_compare_and_count_days, lists_may_be_long_and_hold_nulls,
                functions_compute, pages_are_stable_and_ordered, distinct_values_come_once,
                statistics_group_and_having_selects, statistics_of_nothing_are_one_row,
                the_extent_is_of_what_matches, spatial_filters_find_by_geometry_not_by_box,
                a_filter_on_parents_looks_at_the_live_parent, an_unknown_field_is_named,
                an_unknown_collection_is_named, an_order_by_expression_sorts,
                names_that_look_like_sql_are_only_names;
                retention: past_versions_are_read_as_of_any_generation,
                history_lists_replaced_versions_newest_first,
                pruning_moves_the_floor_and_forgets, pruning_stops_at_a_replicas_cursor,
                a_cursor_below_the_floor_must_resync, a_cursor_above_the_head_must_resync,
                zero_is_never_below_the_floor,
                a_new_history_jumps_and_puts_old_cursors_below_the_floor,
                ancestors_of_a_history_are_known, unreferenced_blobs_are_collected;
                books: replicas_are_kept_and_forgotten_with_what_is_theirs,
                the_last_reply_replaces_the_one_before, last_edits_are_kept_until_pruned,
                conflicts_come_back_exactly_in_order_of_time, blobs_are_kept_once,
                books_roll_back_with_the_records;
                shape: a_new_column_is_there_with_its_default,
                past_versions_have_the_new_column_too, a_new_collection_can_be_used,
                a_changed_type_is_refused, a_missing_collection_is_refused,
                a_description_changes_without_a_new_version,
                digests_tell_content_and_nothing_else;
            );
        }
    };
    (@rules $make:expr; $($module:ident: $($rule:ident),+;)+) => {
        $($(
            #[test]
            fn $rule() {
                let store = ($make)(&$crate::conformance::fixture::service());
                $crate::conformance::$module::$rule(&store);
            }
        )+)+
    };
}

/// As [`store_conformance!`](crate::store_conformance), for a [`DocumentStore`](crate::documents::DocumentStore) that
/// `make` creates from a `&Service`.
#[macro_export]
macro_rules! document_conformance {
    ($name:ident, $make:expr) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            $crate::document_conformance!(@rules $make;
                documents_come_back_exactly_and_in_order_of_their_keys,
                what_is_no_json_object_is_refused,
                a_foreign_revision_is_kept_and_moves_nothing,
                a_pinned_generation_is_read_as_it_was, a_pin_is_extended_and_removed,
                a_unique_index_names_itself_and_the_document_that_has_the_values,
                an_index_is_built_and_dropped_with_the_definition,
                a_collection_is_renamed_dropped_and_made_again,
                a_truncated_collection_leaves_tombstones, a_stage_is_merged_by_key,
                what_a_merge_would_leave_is_known_before, a_stage_is_named_until_it_is_emptied,
                a_merge_may_exchange_unique_values_but_not_repeat_them,
                a_layer_is_read_as_documents
            );
        }
    };
    (@rules $make:expr; $($rule:ident),+) => {
        $(
            #[test]
            fn $rule() {
                let store = ($make)(&$crate::conformance::documents::with_documents());
                $crate::conformance::documents::$rule(&store);
            }
        )+
    };
}
