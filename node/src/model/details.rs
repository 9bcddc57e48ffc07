//! Values of a cycle besides mean and extremes: statistics, groups, outliers, and values that were withheld. They are
//! part of a report only if settings or nodes ask for them, so a fleet without them has the reports of earlier versions.

use serde::{Deserialize, Deserializer, Serialize};

use crate::model::health_status::is_zero;
use crate::model::text::sanitize_for_log;

/// Maximum number of outliers that are named, of one average in a report, and in the state of the leader.
pub const MAX_OUTLIERS: usize = 16;
/// Maximum number of values of groups in the state of the leader.
pub const MAX_GROUP_VALUES: usize = 64;

/// Details of an average. Receivers ignore fields that they do not know.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Details {
    /// Name of the main value: `mean`, `median`, `trimmed=0.1` or `quantile=0.9`.
    pub aggregate: String,
    /// Statistics of all nodes, if settings or groups ask for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statistics: Option<Statistics>,
    /// First outliers, by node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outliers: Vec<Outlier>,
    /// Number of further outliers.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_outliers: usize,
    /// True if the outliers are not part of the values.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub outliers_excluded: bool,
    /// Values of the groups, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupValues>,
}

/// Statistics of the readings of one unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// Arithmetic mean.
    pub mean: f64,
    /// Median.
    pub median: f64,
    /// Mean without some readings at each end.
    pub trimmed_mean: f64,
    /// Share that the trimmed mean leaves out at each end.
    pub trimmed: f64,
    /// Pairs of probability and quantile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quantiles: Vec<(f64, f64)>,
}

/// Values of the readings of one unit in a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupValues {
    /// Name of the group.
    pub group: String,
    /// Main value.
    pub value: f64,
    /// Minimum.
    pub min: f64,
    /// Maximum.
    pub max: f64,
    /// Population standard deviation. `None` if it exceeds the range of a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stddev: Option<f64>,
    /// Number of readings.
    pub count: usize,
    /// Statistics of the group.
    pub statistics: Statistics,
}

/// Reading that differs too much from the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outlier {
    /// Id of the node.
    pub node: String,
    /// The reading.
    pub value: f64,
}

impl Details {
    /// Returns the approximate size in memory, in bytes.
    pub(crate) fn size(&self) -> usize {
        let quantiles = |statistics: &Statistics| std::mem::size_of_val(&*statistics.quantiles);
        let outliers =
            self.outliers.iter().map(|outlier| std::mem::size_of::<Outlier>() + outlier.node.len());
        let groups = self.groups.iter().map(|group| {
            std::mem::size_of::<GroupValues>() + group.group.len() + quantiles(&group.statistics)
        });
        let of_all = self.statistics.as_ref().map_or(0, quantiles);
        std::mem::size_of::<Details>() + of_all + outliers.sum::<usize>() + groups.sum::<usize>()
    }
}

/// Reads the details of a stored report. Those of another form, of a later version, count as missing: the average is
/// valid without them.
pub(crate) fn lenient<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<Details>>, D::Error> {
    let value = Option::<serde_json::Value>::deserialize(deserializer)?;
    Ok(value.and_then(|value| serde_json::from_value(value).ok()))
}

/// Findings of the newest cycle besides its averages. A leader publishes them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Findings {
    /// Values that too few nodes support.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withheld: Vec<Withheld>,
    /// First outliers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outliers: Vec<UnitOutlier>,
    /// Number of further outliers.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_outliers: usize,
    /// First values of the groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<UnitGroup>,
}

impl Findings {
    /// Returns the findings as `atalaya status` shows them: bounded and without control characters, because any program
    /// can write a node info.
    pub(crate) fn limited(mut self) -> Findings {
        self.withheld.truncate(MAX_GROUP_VALUES);
        self.outliers.truncate(MAX_OUTLIERS);
        self.groups.truncate(MAX_GROUP_VALUES);
        let units = self.withheld.iter_mut().filter_map(|value| value.unit.as_mut());
        let outliers =
            self.outliers.iter_mut().flat_map(|outlier| [Some(&mut outlier.node), outlier.unit.as_mut()]);
        let groups = self.groups.iter_mut().flat_map(|group| [Some(&mut group.group), group.unit.as_mut()]);
        for text in units.chain(outliers.flatten()).chain(groups.flatten()) {
            *text = sanitize_for_log(text);
        }
        self
    }
}

/// Value that is not reported, because too few nodes support it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Withheld {
    /// Unit; `None` for bare numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Main value.
    pub value: f64,
    /// Number of nodes that support it.
    pub nodes: usize,
    /// Number of nodes that it needs.
    pub needed: usize,
}

/// Outlier among the readings of one unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnitOutlier {
    /// Id of the node.
    pub node: String,
    /// Unit; `None` for bare numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The reading.
    pub value: f64,
}

/// Value of one unit in a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnitGroup {
    /// Name of the group.
    pub group: String,
    /// Unit; `None` for bare numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Main value.
    pub value: f64,
    /// Minimum.
    pub min: f64,
    /// Maximum.
    pub max: f64,
    /// Number of readings.
    pub count: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Holder {
        #[serde(default, deserialize_with = "lenient")]
        details: Option<Box<Details>>,
    }

    #[test]
    fn details_of_another_form_count_as_missing() {
        let read = |text: &str| serde_json::from_str::<Holder>(text).unwrap().details;
        for text in
            ["{}", r#"{"details":null}"#, r#"{"details":7}"#, r#"{"details":{"aggregate":["later"]}}"#]
        {
            assert_eq!(read(text), None, "{text}");
        }
        let details = read(r#"{"details":{"aggregate":"median","later":1}}"#).unwrap();
        assert_eq!((details.aggregate.as_str(), details.statistics), ("median", None));
    }

    #[test]
    fn details_and_findings_have_only_the_fields_that_are_set() {
        let details = Details { aggregate: "mean".to_owned(), ..Details::default() };
        assert_eq!(serde_json::to_string(&details).unwrap(), r#"{"aggregate":"mean"}"#);
        assert_eq!(serde_json::to_string(&Findings::default()).unwrap(), "{}");
    }
}
