//! Medians, ends and ratios over the rounds.

use portcullis_bench::load::Report;

/// The lowest and the highest value.
pub(crate) fn ends(values: impl Iterator<Item = f64> + Clone) -> Option<(f64, f64)> {
    Some((values.clone().min_by(f64::total_cmp)?, values.max_by(f64::total_cmp)?))
}

/// The ratio in each round that has both figures.
pub(crate) fn ratios(these: &[Report], those: &[Report], value: impl Fn(&Report) -> Option<f64>) -> Vec<f64> {
    these.iter().zip(those).filter_map(|(this, that)| Some(value(this)? / value(that)?)).collect()
}

/// Of all rounds that have this figure.
pub(crate) fn median_of(rounds: &[Report], value: impl Fn(&Report) -> Option<f64>) -> Option<f64> {
    median(rounds.iter().filter_map(value).collect())
}

pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_between_the_two() {
        for (values, want) in [
            (vec![], None),
            (vec![3.0], Some(3.0)),
            (vec![9.0, 1.0, 5.0], Some(5.0)),
            (vec![4.0, 1.0, 2.0, 100.0], Some(3.0)),
        ] {
            assert_eq!(median(values.clone()), want, "{values:?}");
        }
    }
}
