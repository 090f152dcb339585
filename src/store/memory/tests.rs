use super::*;
use crate::store::conformance;

macro_rules! conforms {
    ($($name:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $name() {
                let store = MemoryStore::default();
                conformance::prepare(&store).await;
                conformance::$name(&store).await;
            }
        )*
    };
}

conformance::laws!(conforms);
