//! Writing metrics one by one, and the older of the two text formats.
//!
//! The encoder writes OpenMetrics. Prometheus asks for that first; what cannot read it (an older server,
//! curl and a person) gets the plain format, where a counter's family has the name of its samples.
//! Sources: the OpenMetrics 1.0 specification; Prometheus, "Exposition formats", version 0.0.4.

use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use std::fmt;

/// Labels of one series.
type Labels = Vec<(&'static str, String)>;

/// Writes one metric after the other.
pub(super) struct Writer<'a>(pub(super) DescriptorEncoder<'a>);

impl Writer<'_> {
    /// A counter; its name goes without `_total`.
    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.one(name, help, &ConstCounter::new(value))
    }

    /// A counter for each set of labels.
    pub(super) fn counters(
        &mut self,
        name: &str,
        help: &str,
        series: impl Iterator<Item = (Labels, u64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in series {
            metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }

    /// A gauge.
    pub(super) fn gauge<N>(&mut self, name: &str, help: &str, value: N) -> fmt::Result
    where
        ConstGauge<N>: EncodeMetric,
    {
        self.one(name, help, &ConstGauge::new(value))
    }

    /// A gauge for each set of labels.
    pub(super) fn gauges<N: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        series: impl Iterator<Item = (Labels, N)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in series {
            metric.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    /// A histogram: each bucket's bound and the values in it alone.
    pub(super) fn histogram(
        &mut self,
        name: &str,
        help: &str,
        sum: f64,
        buckets: &[(f64, u64)],
    ) -> fmt::Result {
        let count = buckets.iter().map(|(_, count)| count).sum();
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        metric.encode_histogram::<NoLabelSet>(sum, count, buckets, None)
    }

    /// Facts that do not change; the name goes without `_info`.
    pub(super) fn info(
        &mut self,
        name: &str,
        help: &str,
        facts: &[(&'static str, &'static str); 1],
    ) -> fmt::Result {
        self.one(name, help, &Info::new(*facts))
    }

    fn one(&mut self, name: &str, help: &str, value: &impl EncodeMetric) -> fmt::Result {
        value.encode(self.0.encode_descriptor(name, help, None, value.metric_type())?)
    }
}

/// OpenMetrics as the plain format.
pub(super) fn plain(text: &str) -> String {
    let suffix = |kind: &str| match kind {
        "counter" => "_total",
        "info" => "_info",
        _ => "",
    };
    let families: Vec<(&str, &str)> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let kind = |name: &str| families.iter().find(|(family, _)| *family == name).map(|(_, k)| *k);
    let mut plain = String::with_capacity(text.len() + 1024);
    for line in text.lines() {
        let described = ["# HELP ", "# TYPE "].iter().find_map(|word| {
            let (name, rest) = line.strip_prefix(word)?.split_once(' ')?;
            Some((*word, name, rest))
        });
        match described {
            Some((word, name, rest)) => {
                let kind = kind(name).unwrap_or_default();
                // What is no kind of the older format is a gauge there.
                let rest = if word == "# TYPE " && kind == "info" { "gauge" } else { rest };
                plain.extend([word, name, suffix(kind), " ", rest, "\n"]);
            }
            None if line == "# EOF" => {}
            None => plain.extend([line, "\n"]),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plain_format_names_the_samples() {
        let given = "# HELP a_bytes What.\n# TYPE a_bytes counter\na_bytes_total{x=\"# EOF\"} 3\n\
                     # HELP b Info.\n# TYPE b info\nb_info{v=\"1\"} 1\n\
                     # HELP c One.\n# TYPE c gauge\nc 4\n# EOF\n";
        let expected = "# HELP a_bytes_total What.\n# TYPE a_bytes_total counter\n\
                        a_bytes_total{x=\"# EOF\"} 3\n\
                        # HELP b_info Info.\n# TYPE b_info gauge\nb_info{v=\"1\"} 1\n\
                        # HELP c One.\n# TYPE c gauge\nc 4\n";
        assert_eq!(plain(given), expected);
    }
}
