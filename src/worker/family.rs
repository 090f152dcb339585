//! A run and all that it has started, as one.

use futures_util::future::BoxFuture;

use super::{Service, ServiceError, Verification};

impl Service {
    /// Reads a run's whole history again, and that of every run that it has started, open or ended: gapless, the chain of
    /// hashes holds, and folding it gives the stored snapshot.
    ///
    /// # Errors
    /// There is no such run; the store could not be read. What does not hold is no error but a finding.
    pub async fn verify(&self, run: &str) -> Result<Verification, ServiceError> {
        self.verify_family(run.to_owned()).await
    }

    fn verify_family(&self, run: String) -> BoxFuture<'_, Result<Verification, ServiceError>> {
        Box::pin(async move {
            let mut found = self.verify_one(&run).await?;
            for child in self.core.store.children(&run).await? {
                let of_child = self.verify_family(child.run.clone()).await?;
                if !of_child.ok {
                    found.ok = false;
                    found.findings.push(format!("the run {}, which it has started, does not hold", child.run));
                }
                found.children.push(of_child);
            }
            Ok(found)
        })
    }
}
