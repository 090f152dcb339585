//! A transition's cost does not grow with the run's width.

#[path = "../../benches/width.rs"]
#[expect(clippy::expect_used, reason = "a benchmark that cannot be set up says so and ends, and so does its test")]
mod cost;

#[test]
fn an_item_of_a_wide_map_writes_no_more_than_one_of_a_narrow_map() {
    for max_concurrency in [0, 5] {
        let narrow = cost::per_item(10, max_concurrency);
        assert!(narrow.frames >= 2, "an item and its Map are written: {narrow:?}");
        for items in [1_000, 10_000] {
            let wide = cost::per_item(items, max_concurrency);
            assert_eq!((wide.frames, wide.commands), (narrow.frames, narrow.commands), "{items} items");
            // Longer numbers are all that may be added.
            assert!(wide.bytes <= narrow.bytes + 64, "{items} items: {wide:?}, but 10 items: {narrow:?}");
        }
    }
}
