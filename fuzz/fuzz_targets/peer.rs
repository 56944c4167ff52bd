#![no_main]

#[global_allocator]
static ALLOCATOR: underpin_fuzz::allocation::Counting = underpin_fuzz::allocation::Counting;

libfuzzer_sys::fuzz_target!(init: underpin_fuzz::share::print_at_the_end(), |data: &[u8]| {
    underpin_fuzz::share::count(underpin_fuzz::peer::body(data));
});
