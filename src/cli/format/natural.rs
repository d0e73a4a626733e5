//! The order in which docker lists names: digits compare as numbers ("web.2" before "web.10").

use std::cmp::Ordering;

pub fn compare(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    while !left.is_empty() && !right.is_empty() {
        let ((left_run, left_digits), (right_run, right_digits)) = (run(left), run(right));
        let order = if left_digits && right_digits {
            let (x, y) = (left_run.trim_start_matches('0'), right_run.trim_start_matches('0'));
            // Equal numbers: the one with fewer leading zeros first.
            x.len().cmp(&y.len()).then_with(|| x.cmp(y)).then_with(|| left_run.len().cmp(&right_run.len()))
        } else {
            left_run.cmp(right_run)
        };
        if order.is_ne() {
            // Where one text run ends inside the other, what follows decides.
            return if left_digits == right_digits && !left_digits && (left_run.starts_with(right_run) || right_run.starts_with(left_run)) {
                left.cmp(right)
            } else {
                order
            };
        }
        (left, right) = (&left[left_run.len()..], &right[right_run.len()..]);
    }
    left.len().cmp(&right.len())
}

fn run(text: &str) -> (&str, bool) {
    let digits = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(text.len());
    (&text[..end], digits)
}

#[cfg(test)]
mod tests {
    use super::compare;

    #[test]
    fn numbers_compare_as_numbers() {
        let mut names = ["web.10", "web.2", "api.1", "web.1", "web", "web-a"];
        names.sort_by(|a, b| compare(a, b));
        assert_eq!(names, ["api.1", "web", "web-a", "web.1", "web.2", "web.10"]);
    }
}
