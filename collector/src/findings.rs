//! Outliers, withheld values and groups in a fleet status. Pure.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::values::{needed_integer, without_negative_zero};

/// Maximum number of entries of each kind. Leaders send at most 64 values of groups, and 16 outliers.
pub const MAX_FINDINGS: usize = 100;

/// Findings of the newest cycle besides its averages.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, ToSchema)]
pub struct Findings {
    /// Values that are not reported, because too few nodes support them; 100 at most.
    #[serde(default)]
    #[schema(max_items = 100)]
    pub withheld: Vec<Withheld>,
    /// Readings far from the others; 100 at most.
    #[serde(default)]
    #[schema(max_items = 100)]
    pub outliers: Vec<Outlier>,
    /// Number of further outliers.
    #[serde(default, deserialize_with = "needed_integer")]
    #[schema(minimum = 0, maximum = 9_223_372_036_854_775_807_i64)]
    pub more_outliers: u64,
    /// Values of the groups; 100 at most.
    #[serde(default)]
    #[schema(max_items = 100)]
    pub groups: Vec<GroupValue>,
}

/// Value that is not reported.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, ToSchema)]
pub struct Withheld {
    /// Unit as a SenML name (RFC 8428), if known.
    #[serde(default)]
    pub unit: Option<String>,
    /// The value.
    pub value: f64,
    /// Number of nodes that support it.
    #[serde(default, deserialize_with = "needed_integer")]
    #[schema(minimum = 0, maximum = 9_223_372_036_854_775_807_i64)]
    pub nodes: u64,
    /// Number of nodes that it needs.
    #[serde(default, deserialize_with = "needed_integer")]
    #[schema(minimum = 0, maximum = 9_223_372_036_854_775_807_i64)]
    pub needed: u64,
}

/// Reading far from the others.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, ToSchema)]
pub struct Outlier {
    /// Id of the node.
    pub node: String,
    /// Unit as a SenML name (RFC 8428), if known.
    #[serde(default)]
    pub unit: Option<String>,
    /// The reading.
    pub value: f64,
}

/// Value of one unit in a group.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, ToSchema)]
pub struct GroupValue {
    /// Name of the group.
    pub group: String,
    /// Unit as a SenML name (RFC 8428), if known.
    #[serde(default)]
    pub unit: Option<String>,
    /// Main value.
    pub value: f64,
    /// Smallest measurement.
    pub min: f64,
    /// Largest measurement.
    pub max: f64,
    /// Number of measurements.
    #[serde(default, deserialize_with = "needed_integer")]
    #[schema(minimum = 0, maximum = 9_223_372_036_854_775_807_i64)]
    pub count: u64,
}

impl Findings {
    /// Returns the largest number of entries of a kind.
    pub(crate) fn longest(&self) -> usize {
        self.withheld.len().max(self.outliers.len()).max(self.groups.len())
    }

    /// Returns all texts, which must be checked.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &String> {
        let units = self.withheld.iter().filter_map(|value| value.unit.as_ref());
        let outliers = self.outliers.iter().flat_map(|outlier| [Some(&outlier.node), outlier.unit.as_ref()]);
        let groups = self.groups.iter().flat_map(|group| [Some(&group.group), group.unit.as_ref()]);
        units.chain(outliers.chain(groups).flatten())
    }

    /// Turns every negative zero into zero.
    pub(crate) fn normalize(&mut self) {
        let withheld = self.withheld.iter_mut().map(|value| &mut value.value);
        let outliers = self.outliers.iter_mut().map(|outlier| &mut outlier.value);
        let groups =
            self.groups.iter_mut().flat_map(|group| [&mut group.value, &mut group.min, &mut group.max]);
        withheld.chain(outliers).chain(groups).for_each(|number| *number = without_negative_zero(*number));
    }
}
