//! [`Graph`]: a step recorded once and replayed with a single call.

use super::{device::Device, probe::unavailable};
use crate::DeviceError;
use cudarc::driver::{
    result::{graph, stream},
    sys,
};
use std::{fmt, sync::Arc};

/// Work recorded by [`super::Cuda::capture`].
///
/// It holds addresses, not buffers: whatever the recorded work used must live as long.
pub struct Graph {
    device: Arc<Device>,
    graph: sys::CUgraph,
    executable: sys::CUgraphExec,
}

// SAFETY: a graph may be used from any thread, one at a time; `launch` takes it exclusively.
unsafe impl Send for Graph {}

impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Graph").field(&self.device).finish()
    }
}

/// Ends the recording, even where the recorded work unwinds.
struct Recording<'a>(&'a Device);

impl Recording<'_> {
    fn end(self) -> Result<sys::CUgraph, cudarc::driver::DriverError> {
        let device = self.0;
        std::mem::forget(self);
        // SAFETY: the stream lives and is recording.
        unsafe { stream::end_capture(device.stream()) }
    }
}

impl Drop for Recording<'_> {
    fn drop(&mut self) {
        // SAFETY: as above.
        if let Ok(graph) = unsafe { stream::end_capture(self.0.stream()) } {
            destroy(graph);
        }
        let _ = self.0.end_recording();
    }
}

fn destroy(graph: sys::CUgraph) {
    if !graph.is_null() {
        // SAFETY: ended, not destroyed yet. There is nobody to tell of a failure.
        let _ = unsafe { graph::destroy(graph) };
    }
}

impl Graph {
    pub(super) fn capture(device: &Arc<Device>, work: impl FnOnce()) -> Result<Self, DeviceError> {
        use sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        device.bind()?;
        device.begin_recording()?;
        // SAFETY: the stream lives.
        let begun = unsafe { stream::begin_capture(device.stream(), CU_STREAM_CAPTURE_MODE_THREAD_LOCAL) };
        if let Err(e) = begun {
            let _ = device.end_recording();
            return Err(device.fail("cuStreamBeginCapture", e));
        }
        let recording = Recording(device);
        work();
        let ended = recording.end();
        let refused = device.end_recording();
        if let Err(e) = refused.and_then(|()| device.check()) {
            ended.into_iter().for_each(destroy);
            return Err(e);
        }
        let graph = ended.map_err(|e| device.fail("cuStreamEndCapture", e))?;
        if graph.is_null() {
            return Err(unavailable("nothing was recorded"));
        }
        // SAFETY: the graph was just recorded.
        match unsafe { graph::instantiate(graph, sys::CUgraphInstantiate_flags(0)) } {
            Ok(executable) => Ok(Self { device: device.clone(), graph, executable }),
            Err(e) => {
                destroy(graph);
                Err(device.fail("cuGraphInstantiate", e))
            }
        }
    }

    /// Queues the recorded work once more. A failure sticks to the device.
    ///
    /// # Safety
    /// The buffers that the recorded work used are alive, and no view that is in use elsewhere overlaps
    /// what it writes.
    pub unsafe fn launch(&mut self) {
        let device = &self.device;
        if device.ready() {
            // SAFETY: recorded on this stream and instantiated; the caller vouches for its addresses.
            let launched = unsafe { graph::launch(self.executable, device.stream()) };
            device.launched("cuGraphLaunch", launched);
        }
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        if self.device.bind().is_ok() {
            // SAFETY: instantiated once, destroyed once.
            let _ = unsafe { graph::exec_destroy(self.executable) };
            destroy(self.graph);
        }
    }
}
