//! The corpus `fineweb`: sample-10BT of HuggingFaceFW/fineweb, file by file through the hub's own cache
//! (`HF_HOME`, `HF_ENDPOINT` as usual). Compiled in with the feature `fineweb`.

use super::DataError;
use super::source::DocumentStream;

/// The source in cache keys.
pub(super) const IDENTITY: &str = "HuggingFaceFW/fineweb sample/10BT, rules 1";

#[cfg(not(feature = "fineweb"))]
const REMEDY: &str = "build with --features fineweb, or download a parquet file of its sample/10BT and name it with \
                      --corpus PATH";

/// The documents in the order of the files. A file (about 2 GB) is fetched when the one before is used up.
#[cfg(not(feature = "fineweb"))]
pub(super) fn documents() -> Result<DocumentStream, DataError> {
    Err(DataError::FineWeb { message: format!("this program was built without it; {REMEDY}") })
}

#[cfg(feature = "fineweb")]
pub(super) use hub::documents;

#[cfg(feature = "fineweb")]
mod hub {
    use hf_hub::api::sync::{ApiBuilder, ApiError, ApiRepo};

    use super::super::parquet::ParquetDocuments;
    use super::{DataError, DocumentStream};

    const REPOSITORY: &str = "HuggingFaceFW/fineweb";
    /// The sample's files are `sample/10BT/000_00000.parquet` to `014_00000.parquet`. Naming them, rather than
    /// asking the hub for its list, lets a file that is already cached be read without network.
    const FILES: usize = 15;
    const REMEDY: &str = "check the network, or download a parquet file of its sample/10BT elsewhere and name it \
                          with --corpus PATH";

    /// The documents in the order of the files. A file (about 2 GB) is fetched when the one before is used up.
    pub(in super::super) fn documents() -> Result<DocumentStream, DataError> {
        documents_from(ApiBuilder::from_env())
    }

    fn documents_from(builder: ApiBuilder) -> Result<DocumentStream, DataError> {
        let repository =
            builder.build().map_err(|error| failure("the hub", &error))?.dataset(REPOSITORY.to_owned());
        let names = (0..FILES).map(|file| format!("sample/10BT/{file:03}_00000.parquet"));
        Ok(Box::new(names.flat_map(move |name| match fetch(&repository, &name) {
            Ok(documents) => documents,
            Err(error) => Box::new(std::iter::once(Err(error))),
        })))
    }

    fn fetch(repository: &ApiRepo, name: &str) -> Result<DocumentStream, DataError> {
        let path = repository.get(name).map_err(|error: ApiError| failure(name, &error))?;
        Ok(Box::new(ParquetDocuments::open(&path)?))
    }

    fn failure(what: &str, error: &dyn std::fmt::Display) -> DataError {
        DataError::FineWeb { message: format!("{what}: {error}; {REMEDY}") }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn without_network_the_error_says_what_to_do() {
            let cache = tempfile::tempdir().expect("temporary folder");
            // Port 1 of this machine refuses connections.
            let builder = ApiBuilder::new()
                .with_endpoint("http://127.0.0.1:1".to_owned())
                .with_cache_dir(cache.path().to_owned())
                .with_token(None);
            let mut documents = documents_from(builder).expect("fetches nothing yet");
            let error = documents.next().expect("an item").expect_err("nothing listens there").to_string();
            assert!(
                error.contains("sample/10BT/000_00000.parquet") && error.contains("--corpus PATH"),
                "{error}"
            );
        }
    }
}
