//! A circuit breaker for each service and region of the vendor's account: where nothing has answered for a while, calls are not
//! made but refused at once, so that steps do not wait out a silence one after the other. One call in a while is made all the same,
//! and the first answer, whatever it says, ends it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use aws_smithy_async::time::SharedTimeSource;
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{
            Intercept,
            context::{BeforeTransmitInterceptorContextRef, Error, FinalizerInterceptorContextRef, Output},
            dyn_dispatch_hint,
        },
        orchestrator::OrchestratorError,
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::config_bag::ConfigBag;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use prometheus::{GaugeVec, Opts};

use crate::worker::{Clock as _, SystemClock};

/// Attempts that in a row were not answered. The SDK makes three of most calls, so that one call alone does not do it.
const UNANSWERED: u32 = 5;
/// Between two calls that are made while nothing answers.
const PROBE: TimeDelta = TimeDelta::seconds(5);

/// The breakers of a process.
#[derive(Debug, Clone)]
pub(super) struct Breakers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The cloud's time, when it is not the wall's.
    time: Option<SharedTimeSource>,
    /// By service and region.
    places: Mutex<HashMap<(&'static str, String), Place>>,
    /// Once somebody measures it.
    open: OnceLock<GaugeVec>,
}

/// How a service of a region has answered.
#[derive(Debug, Default)]
struct Place {
    unanswered: u32,
    since: DateTime<Utc>,
    /// When the next call is made.
    probe: DateTime<Utc>,
}

/// A call that was not made.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{service} in {region} has not answered since {}, and is asked again every {} s", .since.to_rfc3339_opts(SecondsFormat::Secs, true), PROBE.num_seconds())]
pub(super) struct NotAsked {
    service: &'static str,
    region: String,
    since: DateTime<Utc>,
}

impl Breakers {
    pub(super) fn new(time: Option<SharedTimeSource>) -> Self {
        Self(Arc::new(Inner { time, places: Mutex::default(), open: OnceLock::new() }))
    }

    /// Where nothing answers, from now on.
    pub(super) fn gauge(&self) -> Result<GaugeVec, prometheus::Error> {
        let help = "Whether a service of a region is silent, so that calls are refused without being made";
        let open = GaugeVec::new(Opts::new("keyferry_aws_silent", help), &["service", "region"])?;
        Ok(self.0.open.get_or_init(|| open).clone())
    }

    /// What sees the attempts of a client.
    pub(super) fn at(&self, service: &'static str, region: &str) -> Breaker {
        let breaker = Breaker { breakers: self.clone(), service, region: region.to_owned() };
        breaker.place(|place, _| breaker.show(if place.unanswered < UNANSWERED { 0.0 } else { 1.0 }));
        breaker
    }

    fn now(&self) -> DateTime<Utc> {
        self.0.time.as_ref().map_or_else(|| SystemClock.now(), |time| time.now().into())
    }
}

/// The breaker of one service in one region, as a client has it.
#[derive(Debug)]
pub(super) struct Breaker {
    breakers: Breakers,
    service: &'static str,
    region: String,
}

impl Breaker {
    fn place<T>(&self, change: impl FnOnce(&mut Place, DateTime<Utc>) -> T) -> T {
        let now = self.breakers.now();
        let mut places = self.breakers.0.places.lock().unwrap_or_else(PoisonError::into_inner);
        change(places.entry((self.service, self.region.clone())).or_default(), now)
    }

    fn ask(&self) -> Result<(), NotAsked> {
        self.place(|place, now| {
            if place.unanswered < UNANSWERED || now >= place.probe {
                place.probe = now + PROBE;
                return Ok(());
            }
            Err(NotAsked { service: self.service, region: self.region.clone(), since: place.since })
        })
    }

    fn heard(&self) {
        if self.place(|place, _| std::mem::take(place)).unanswered >= UNANSWERED {
            tracing::info!(aws.service = self.service, aws.region = self.region, "AWS answers again");
            self.show(0.0);
        }
    }

    fn unheard(&self) {
        let opens = self.place(|place, now| {
            if place.unanswered == 0 {
                place.since = now;
            }
            place.unanswered = place.unanswered.saturating_add(1);
            place.unanswered == UNANSWERED
        });
        if opens {
            tracing::warn!(
                aws.service = self.service,
                aws.region = self.region,
                "AWS does not answer; calls are refused without being made, but for one every {} s",
                PROBE.num_seconds()
            );
            self.show(1.0);
        }
    }

    fn show(&self, open: f64) {
        if let Some(gauge) = self.breakers.0.open.get() {
            gauge.with_label_values(&[self.service, &self.region]).set(open);
        }
    }
}

#[dyn_dispatch_hint]
impl Intercept for Breaker {
    fn name(&self) -> &'static str {
        "breaker"
    }

    fn read_before_attempt(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        Ok(self.ask()?)
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        match context.output_or_error() {
            Some(outcome) if answered(&outcome) => self.heard(),
            Some(Err(error)) if is_silence(error) => self.unheard(),
            // Not asked, or not able to ask: no word of AWS's.
            Some(_) | None => {}
        }
        Ok(())
    }
}

fn answered(outcome: &Result<&Output, &OrchestratorError<Error>>) -> bool {
    outcome.as_ref().err().is_none_or(|error| error.is_operation_error())
}

fn is_silence(error: &OrchestratorError<Error>) -> bool {
    error.is_timeout_error() || error.is_response_error() || error.is_connector_error()
}

#[cfg(test)]
mod tests {
    use aws_smithy_async::time::TimeSource;

    use super::*;

    #[derive(Debug, Clone, Default)]
    struct Hand(Arc<Mutex<i64>>);

    impl TimeSource for Hand {
        fn now(&self) -> std::time::SystemTime {
            DateTime::<Utc>::from_timestamp(*self.0.lock().unwrap(), 0).unwrap().into()
        }
    }

    #[test]
    fn a_silence_refuses_calls_at_once_and_the_first_answer_ends_it() {
        let hand = Hand::default();
        let breakers = Breakers::new(Some(SharedTimeSource::new(hand.clone())));
        let gauge = breakers.gauge().unwrap();
        let (kms, rds) = (breakers.at("KMS", "us-west-2"), breakers.at("RDS", "us-west-2"));
        let elsewhere = breakers.at("KMS", "us-east-1");
        // One answer in between, and it is no silence.
        for _ in 0..4 {
            assert!(kms.ask().is_ok());
            kms.unheard();
        }
        kms.heard();
        *hand.0.lock().unwrap() = 100;
        for _ in 0..5 {
            assert!(kms.ask().is_ok());
            kms.unheard();
        }
        let refused = kms.ask().unwrap_err();
        assert_eq!(
            refused.to_string(),
            "KMS in us-west-2 has not answered since 1970-01-01T00:01:40Z, and is asked again every 5 s"
        );
        assert!(rds.ask().is_ok() && elsewhere.ask().is_ok(), "each by itself");
        assert!((gauge.with_label_values(&["KMS", "us-west-2"]).get() - 1.0).abs() < f64::EPSILON);
        // One call in five seconds.
        *hand.0.lock().unwrap() = 105;
        assert!(kms.ask().is_ok() && kms.ask().is_err());
        kms.unheard();
        *hand.0.lock().unwrap() = 109;
        assert!(kms.ask().is_err());
        *hand.0.lock().unwrap() = 110;
        assert!(kms.ask().is_ok());
        kms.heard();
        assert!(kms.ask().is_ok() && kms.ask().is_ok());
        assert!(gauge.with_label_values(&["KMS", "us-west-2"]).get().abs() < f64::EPSILON);
    }
}
