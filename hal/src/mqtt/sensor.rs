//! Sensor that reads the newest message of a topic.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use smallvec::smallvec;

use super::address::MqttTopic;
use super::connection::Connection;
use super::messages::{Access, NoMessage};
use super::{MAX_PAYLOAD, payload};
use crate::error::{Cause, OpenError, Place, ReadError};
use crate::reading::{Quantity, Reading, Readings};
use crate::sensor::{Sensor, SensorInfo};

/// Connections to brokers, each shared by its sensors.
#[derive(Debug, Default)]
pub struct Brokers(Vec<Arc<Connection>>);

impl Brokers {
    /// Creates a sensor, whose number is in the unit of `quantity`. Relative paths start at `base_dir`. Connects to
    /// nothing; the first read does.
    ///
    /// # Errors
    /// Only builds without the feature `mqtt` return an error.
    pub fn sensor(
        &mut self,
        topic: &MqttTopic,
        quantity: Quantity,
        info: SensorInfo,
        base_dir: &Path,
    ) -> Result<Box<dyn Sensor>, OpenError> {
        let path = |path: &Option<std::path::PathBuf>| path.as_ref().map(|path| base_dir.join(path));
        let access = Access {
            broker: topic.broker.clone(),
            user: topic.user.clone(),
            password_file: path(&topic.password_file),
            ca: path(&topic.ca),
        };
        let known = self.0.iter().find(|connection| connection.access == access).cloned();
        let connection = known.unwrap_or_else(|| {
            let connection = Arc::new(Connection::new(access));
            self.0.push(Arc::clone(&connection));
            connection
        });
        let number = connection.add_topic(&topic.topic);
        let place = Place::at(format!("{} on {}", topic.topic, topic.broker));
        let (pointer, max_age) = (topic.pointer.clone(), topic.max_age);
        Ok(Box::new(NumberTopic { connection, topic: number, pointer, max_age, quantity, place, info }))
    }
}

/// Number in the newest message of a topic.
struct NumberTopic {
    connection: Arc<Connection>,
    /// Number of the topic in the connection.
    topic: usize,
    pointer: Option<String>,
    max_age: Duration,
    quantity: Quantity,
    place: Place,
    info: SensorInfo,
}

impl Sensor for NumberTopic {
    fn info(&self) -> &SensorInfo {
        &self.info
    }

    fn read(&mut self) -> Result<Readings, ReadError> {
        let fault = |cause, why: String| ReadError::with_source(cause, self.place.clone(), why);
        let message = self.connection.newest(self.topic, self.max_age).map_err(|error| match error {
            NoMessage::NoBroker(reason) => fault(Cause::NotPresent, reason),
            NoMessage::Silent => {
                fault(Cause::Other, format!("no message for longer than {:?}", self.max_age))
            }
            NoMessage::Other(reason) => fault(Cause::Other, reason.to_owned()),
        })?;
        let Some(payload) = message.payload else {
            return Err(fault(Cause::Other, format!("the message has more than {MAX_PAYLOAD} bytes")));
        };
        let value =
            payload::number(&payload, self.pointer.as_deref()).map_err(|why| fault(Cause::Other, why))?;
        let reading = Reading::new(self.quantity, value)
            .map_err(|error| fault(Cause::OutOfRange, error.to_string()))?;
        Ok(smallvec![reading])
    }
}
