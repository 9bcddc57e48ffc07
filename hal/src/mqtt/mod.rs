//! `chip = "mqtt"`: a number in the messages of an MQTT broker, as ESPHome, Tasmota and Zigbee2MQTT publish it.
//!
//! ```toml
//! [[boards.pi.sensors]]
//! name = "kitchen"
//! chip = "mqtt"
//! broker = "mqtt://127.0.0.1:1883"
//! topic = "zigbee2mqtt/kitchen"
//! pointer = "/temperature"
//! quantity = "temperature"
//! max_age = "1h"
//! ```
//!
//! * **Connection**: sensors with the same broker, user, password file and CA share one connection (MQTT 3.1.1, clean
//!   session, QoS 1). It begins at the first read, in a thread of its own, and after an error again, with a pause of 0.5
//!   to 30 s with jitter. Password and certificates are read at each connection.
//! * **Reading**: a read returns the number in the newest message, also if an earlier read has returned it, until the
//!   message is older than `max_age`; the state of the connection does not matter. Only the first reads, until a second
//!   after the start of the connection, wait for a message; others never wait.
//! * **Message**: a number as text, or JSON with the number at `pointer`. A JSON string that is a number is a number, too;
//!   `true`, `null`, lists and objects are not. A message that is not a number is an error until the next message.
//! * **Age**: counted from the arrival. The age of a retained message is not known, so it counts from its arrival as well;
//!   one that arrives again, unchanged, after a reconnection keeps its first arrival.
//! * **Bounds**: a message has at most [`MAX_PAYLOAD`] bytes; of a larger one the rest is discarded while it arrives, so
//!   that it is an error of its sensor, and of no other. Messages are parsed when they are read, so a flood of messages
//!   costs no parsing.
//!
//! The connection needs the feature `mqtt` of this crate.

mod address;
#[cfg(feature = "mqtt")]
mod client;
#[cfg(feature = "mqtt")]
mod connection;
#[cfg(feature = "mqtt")]
mod messages;
#[cfg(feature = "mqtt")]
mod packet_limit;
#[cfg(feature = "mqtt")]
mod payload;
#[cfg(feature = "mqtt")]
mod sensor;
#[cfg(feature = "mqtt")]
mod transport;

pub use address::{BrokerUrl, MAX_TOPIC, MqttTopic, check_pointer, check_topic};
#[cfg(feature = "mqtt")]
pub use sensor::Brokers;

#[cfg(not(feature = "mqtt"))]
pub use absent::Brokers;

/// Maximum size of a message, in bytes.
pub const MAX_PAYLOAD: usize = 64 * 1024;

#[cfg(not(feature = "mqtt"))]
mod absent {
    use std::path::Path;

    use super::MqttTopic;
    use crate::error::OpenError;
    use crate::reading::Quantity;
    use crate::sensor::{Sensor, SensorInfo};

    /// Connections to brokers, which this build does not have.
    #[derive(Debug, Default)]
    pub struct Brokers(());

    impl Brokers {
        /// Refuses the sensor.
        ///
        /// # Errors
        /// Always.
        pub fn sensor(
            &mut self,
            _: &MqttTopic,
            _: Quantity,
            info: SensorInfo,
            _: &Path,
        ) -> Result<Box<dyn Sensor>, OpenError> {
            let problem = "this program was built without MQTT; use a build with the feature \"mqtt\"";
            Err(OpenError::new(info.name, problem))
        }
    }
}
