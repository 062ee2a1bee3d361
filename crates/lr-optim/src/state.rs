//! [`StateDict`]: an optimizer's state by name, on the host, between the device and a checkpoint.

use crate::StateError;
use lr_linalg::{Backend, Dims, Mats, MatsMut, MatsRef};
use std::collections::BTreeMap;

/// Matrices and counters by name.
#[derive(Clone, Debug, PartialEq)]
pub struct StateDict<T> {
    /// Matrices: shape and row-major values.
    pub tensors: BTreeMap<String, (Dims, Vec<T>)>,
    /// Counters, such as the number of steps taken.
    pub counters: BTreeMap<String, u64>,
}

impl<T> Default for StateDict<T> {
    fn default() -> Self {
        Self { tensors: BTreeMap::new(), counters: BTreeMap::new() }
    }
}

impl<T: Copy> StateDict<T> {
    /// Downloads `views`, matrices of one shape, and keeps them as one batch.
    ///
    /// # Errors
    /// Any pending device error.
    pub fn save<'a, B: Backend<Elem = T>>(
        &mut self,
        b: &B,
        name: impl Into<String>,
        views: impl IntoIterator<Item = MatsRef<'a, B>>,
    ) -> Result<(), StateError> {
        let (mut dims, mut values) = (Dims::new(0, 0, 0), Vec::new());
        for view in views {
            dims = Dims { batch: dims.batch + view.dims().batch, ..view.dims() };
            values.extend(b.download(view)?);
        }
        self.tensors.insert(name.into(), (dims, values));
        Ok(())
    }

    /// Uploads a saved batch into `views`, in order.
    ///
    /// # Errors
    /// [`StateError`] when the entry is missing or has another shape than the views together.
    pub fn load<'a, B: Backend<Elem = T>>(
        &self,
        b: &B,
        name: &str,
        views: impl IntoIterator<Item = MatsMut<'a, B>>,
    ) -> Result<(), StateError> {
        let (found, values) =
            self.tensors.get(name).ok_or_else(|| StateError::Missing { name: name.to_owned() })?;
        let views: Vec<_> = views.into_iter().collect();
        let batch = views.iter().map(|v| v.dims().batch).sum();
        let expected = views.first().map_or(Dims::new(0, 0, 0), |v| Dims { batch, ..v.dims() });
        if *found != expected || values.len() != expected.len() {
            return Err(StateError::Shape { name: name.to_owned(), expected, found: *found });
        }
        let mut rest = values.as_slice();
        for view in views {
            let (now, later) = rest.split_at(view.dims().len());
            b.upload(now, view);
            rest = later;
        }
        Ok(())
    }

    /// A saved counter.
    ///
    /// # Errors
    /// [`StateError::Missing`].
    pub fn counter(&self, name: &str) -> Result<u64, StateError> {
        self.counters.get(name).copied().ok_or_else(|| StateError::Missing { name: name.to_owned() })
    }
}

/// Saves one matrix under `name`.
pub(crate) fn save_mats<B: Backend>(
    b: &B,
    dict: &mut StateDict<B::Elem>,
    name: String,
    mats: &Mats<B>,
) -> Result<(), StateError> {
    dict.save(b, name, [mats.as_ref()])
}
