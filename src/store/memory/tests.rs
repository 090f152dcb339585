use super::*;
use crate::store::conformance;

macro_rules! conforms {
    ($($name:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $name() {
                let store = MemoryStore::default();
                conformance::prepare(&store).await;
                conformance::$name(&store).await;
            }
        )*
    };
}

conforms!(
    a_turn_is_read_back_whole,
    a_group_is_all_or_nothing_and_others_of_its_batch_stand,
    a_late_worker_cannot_commit,
    words_keep_what_they_say,
    words_of_one_batch_about_one_piece_of_work_all_count,
    what_is_due_longest_comes_first_and_what_is_held_does_not_come,
    work_is_claimed_by_the_commit_that_writes_it,
    a_key_starts_one_run_and_one_exclusive_run_is_open,
    listings_have_pages,
    a_record_is_written_on_the_version_that_was_read,
    values_that_look_like_references_are_values,
    a_moment_is_seen_whole,
    a_later_word_to_a_child_never_has_the_fence_of_an_earlier,
);
