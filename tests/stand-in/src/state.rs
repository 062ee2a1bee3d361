//! The state of driver and device: one of each, behind one lock.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

use lr_ptx::{Memory, Module};

use crate::settings::Settings;
use crate::status::*;
use crate::work::Work;

static STATE: LazyLock<Mutex<State>> = LazyLock::new(|| Mutex::new(State::new(Settings::from_environment())));

/// The state, for the time of one call.
pub(crate) fn lock() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A function of a loaded module.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) module: Arc<Module>,
    pub(crate) name: String,
}

/// A stream: what it has not done yet, and what it records instead of doing it.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    pub(crate) queue: VecDeque<Work>,
    pub(crate) capture: Option<Capture>,
}

/// What a recording forbids while it lasts (`CUstreamCaptureMode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum CaptureMode {
    /// Unsafe calls of any thread.
    #[default]
    Global,
    /// Unsafe calls of the thread that records.
    ThreadLocal,
    /// Nothing.
    Relaxed,
}

/// A step being recorded.
#[derive(Debug)]
pub(crate) struct Capture {
    pub(crate) mode: CaptureMode,
    /// The thread that began it.
    pub(crate) thread: ThreadId,
    pub(crate) work: Vec<Work>,
    /// Something was asked for that cannot be recorded.
    pub(crate) invalid: bool,
}

impl Capture {
    /// A recording by this thread.
    pub(crate) fn begin(mode: CaptureMode) -> Self {
        Self { mode, thread: std::thread::current().id(), work: Vec::new(), invalid: false }
    }

    /// Whether it forbids this thread the calls that might disturb it, such as those that wait for all streams.
    fn forbids_unsafe_calls(&self) -> bool {
        match self.mode {
            CaptureMode::Global => true,
            CaptureMode::ThreadLocal => self.thread == std::thread::current().id(),
            CaptureMode::Relaxed => false,
        }
    }
}

/// An event: how often it was recorded, and how many of the recordings were reached.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Event {
    pub(crate) recorded: u64,
    pub(crate) reached: u64,
}

/// Everything.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) settings: Settings,
    pub(crate) initialized: bool,
    /// Users of the primary context.
    pub(crate) retained: u64,
    pub(crate) memory: Memory,
    pub(crate) streams: BTreeMap<u64, Stream>,
    pub(crate) events: HashMap<u64, Event>,
    pub(crate) modules: HashMap<u64, Arc<Module>>,
    pub(crate) functions: HashMap<u64, Arc<Function>>,
    /// Most dynamic shared memory that a function may be launched with.
    pub(crate) dynamic_limits: HashMap<u64, u32>,
    pub(crate) graphs: HashMap<u64, Arc<[Work]>>,
    pub(crate) host_memory: HashMap<u64, Vec<u64>>,
    pub(crate) launches: u64,
    /// The error that every call returns, or `SUCCESS`.
    pub(crate) sticky: Status,
    pub(crate) last_fault: String,
    next_handle: u64,
    random: u64,
}

impl State {
    pub(crate) fn new(settings: Settings) -> Self {
        let random = settings.lazy.unwrap_or(0).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        Self {
            settings,
            initialized: false,
            retained: 0,
            memory: Memory::new(),
            streams: BTreeMap::from([(0, Stream::default())]),
            events: HashMap::new(),
            modules: HashMap::new(),
            functions: HashMap::new(),
            dynamic_limits: HashMap::new(),
            graphs: HashMap::new(),
            host_memory: HashMap::new(),
            launches: 0,
            sticky: SUCCESS,
            last_fault: String::new(),
            next_handle: 0x1000,
            random,
        }
    }

    /// A new context: everything but the settings, the count of launches and the last fault's text is gone.
    pub(crate) fn begin_again(&mut self) {
        let next = Self::new(self.settings);
        let old = std::mem::replace(self, next);
        self.initialized = old.initialized;
        self.last_fault = old.last_fault;
        self.launches = old.launches;
        self.next_handle = old.next_handle;
        self.random = old.random;
    }

    /// A handle that was never given before.
    pub(crate) fn handle(&mut self) -> u64 {
        self.next_handle += 16;
        self.next_handle
    }

    /// The per-thread and legacy default streams are the stream 0.
    pub(crate) fn stream(&mut self, stream: u64) -> Option<&mut Stream> {
        self.streams.get_mut(if stream <= 2 { &0 } else { &stream })
    }

    /// Notes a failure of device work: it sticks.
    pub(crate) fn fault(&mut self, status: Status, text: String) {
        eprintln!("lr-stand-in: {text}");
        self.last_fault = text;
        self.sticky = status;
    }

    /// Queues work, records it, or does it.
    pub(crate) fn submit(&mut self, stream: u64, work: Work) -> Status {
        if self.sticky != SUCCESS {
            return self.sticky;
        }
        let lazy = self.settings.lazy.is_some();
        let Some(queue) = self.stream(stream) else { return ERROR_INVALID_HANDLE };
        if let Some(capture) = &mut queue.capture {
            if !work.can_be_captured() {
                capture.invalid = true;
                return ERROR_STREAM_CAPTURE_UNSUPPORTED;
            }
            capture.work.push(work);
        } else if lazy {
            queue.queue.push_back(work);
        } else {
            self.perform(work);
        }
        SUCCESS
    }

    /// Does what was asked for at once, and marks the stream's recording as failed if there is one.
    pub(crate) fn forbidden_in_capture(&mut self, stream: u64) -> bool {
        match self.stream(stream).and_then(|stream| stream.capture.as_mut()) {
            Some(capture) => {
                capture.invalid = true;
                true
            }
            None => false,
        }
    }

    /// Whether a recording forbids this thread to allocate outside of streams and to load modules.
    pub(crate) fn forbids_unsafe_calls(&self) -> bool {
        self.streams.values().filter_map(|stream| stream.capture.as_ref()).any(Capture::forbids_unsafe_calls)
    }

    fn draw(&mut self, bound: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        ((self.random >> 11) % bound as u64) as usize
    }

    /// Does the next work of a random stream that need not wait; `false` if there is none.
    pub(crate) fn step(&mut self) -> bool {
        let ready: Vec<u64> = self
            .streams
            .iter()
            .filter(|(_, stream)| match stream.queue.front() {
                None => false,
                Some(Work::Wait { event, recording }) => {
                    self.events.get(event).is_none_or(|event| event.reached >= *recording)
                }
                Some(_) => true,
            })
            .map(|(&handle, _)| handle)
            .collect();
        if ready.is_empty() {
            return false;
        }
        let stream = ready[self.draw(ready.len())];
        if let Some(work) = self.streams.get_mut(&stream).and_then(|stream| stream.queue.pop_front()) {
            self.perform(work);
        }
        true
    }

    /// Works until a condition holds: how the host waits.
    pub(crate) fn wait(&mut self, holds: impl Fn(&Self) -> bool) -> Status {
        while self.sticky == SUCCESS && !holds(self) {
            if !self.step() {
                self.fault(ERROR_LAUNCH_FAILED, "streams wait for each other".into());
            }
        }
        self.sticky
    }

    /// Waits for one stream.
    pub(crate) fn wait_for_stream(&mut self, stream: u64) -> Status {
        let key = if stream <= 2 { 0 } else { stream };
        self.wait(|state| state.streams.get(&key).is_none_or(|stream| stream.queue.is_empty()))
    }

    /// Waits for all streams.
    pub(crate) fn wait_for_all(&mut self) -> Status {
        self.wait(|state| state.streams.values().all(|stream| stream.queue.is_empty()))
    }
}
