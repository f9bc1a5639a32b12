"""Types of the cffi module zoned._native.

Made by native/python/stubs.py from native/include/zoned, which is its manual.
"""

from typing import Any, Literal, overload

from zoned._cffi import _Base, _CData, _CType, _Library


class _Iovec(_CData):
    iov_base: Any
    iov_len: int

class _Stat(_CData):
    st_ino: int
    st_mode: int
    st_nlink: int
    st_uid: int
    st_gid: int
    st_size: int
    st_blksize: int
    st_blocks: int
    st_atim: Any
    st_mtim: Any
    st_ctim: Any

class _Timespec(_CData):
    tv_sec: int
    tv_nsec: int

class _ZdCell(_CData):
    next: int
    effects: int
    error: int

class _ZdClockState(_CData):
    now: int
    last: int
    busy: int
    commands: int
    parts: Any
    failed: int
    reserved: int

class _ZdConfig(_CData):
    struct_size: int
    zone_extension: int
    size: int
    zone_size: int
    zone_capacity: int
    logical_block: int
    physical_block: int
    max_open: int
    max_active: int
    append_limit: int
    seed: int
    slot_cache: int
    dialect: int
    model: int
    implicit_close: int
    data: int
    host_sync: int
    unrestricted_read: int
    pace: int
    reserved2: int
    nr_conv: int
    conv: Any
    profile: Any
    zrwa_size: int
    zrwa_granularity: int
    zrwa_count: int
    reserved3: int

class _ZdCounters(_CData):
    struct_size: int
    max_open_seen: int
    max_active_seen: int
    reserved: int
    zones: Any
    flushes: int
    errors_by_rule: Any

class _ZdCut(_CData):
    kept: Any
    undone: Any
    nr_kept: int
    zero: int
    nr_undone: int

class _ZdError(_CData):
    code: int
    cmd: int
    host_errno: int
    zone: int
    offset: int
    length: int
    wp: int
    bound: int
    cond: int
    injected: int
    reserved: int
    fault: int
    text: Any

class _ZdFate(_CData):
    zone: int
    is_block: int
    low: int
    high: int
    step: int
    offset: int
    choices: int
    reserved: Any

class _ZdFault(_CData):
    id: int
    kind: int
    commands: int
    first_zone: int
    last_zone: int
    order: int
    to: int
    nth: int
    every: int
    probability: int
    limit: int
    seed: int
    blocks: int
    bit: int
    real_ns: int
    virtual_ns: int
    after: int
    active: int
    keep: int
    reserved: int
    waiting: int
    seen: int
    matched: int
    label: Any
    reserved2: Any

class _ZdFinding(_CData):
    kind: int
    zone: int
    offset: int
    error: int
    mendable: int
    mended: int
    loses: int
    becomes: int
    reserved: Any
    lost: int
    text: Any

class _ZdFsCounters(_CData):
    max_wro_seq_files: int
    nr_wro_seq_files: int
    max_active_seq_files: int
    nr_active_seq_files: int

class _ZdFsFormat(_CData):
    features: int
    uid: int
    gid: int
    perm: int
    label: Any
    uuid: Any

class _ZdFsOptions(_CData):
    errors: int
    flags: int
    uid: int
    gid: int
    perm: int
    reserved: Any

class _ZdFsStatfs(_CData):
    blocks: int
    bfree: int
    files: int
    bsize: int
    namelen: int
    fsid: int

class _ZdInfo(_CData):
    struct_size: int
    version: int
    size: int
    zone_size: int
    zone_capacity: int
    append_limit: int
    seed: int
    slot_size: int
    slot_cache: int
    logical_block: int
    physical_block: int
    max_open: int
    max_active: int
    nr_zones: int
    nr_conv_zones: int
    nr_conv_ranges: int
    dialect: int
    model: int
    implicit_close: int
    unrestricted_read: int
    data: int
    host_sync: int
    readonly: int
    in_ram: int
    clean: int
    failed: int
    cow_host: int
    pace: int
    features: int
    uuid: Any
    created: int
    profile: Any
    nr_implicit_open: int
    nr_explicit_open: int
    nr_closed: int
    slots_used: int
    slots_free: int
    slots_pending: int
    slots_total: int
    zone_extension: int
    table_offset: int
    runtime_offset: int
    data_offset: int
    file_size: int
    zrwa_size: int
    zrwa_granularity: int
    zrwa_count: int
    zrwa_used: int

class _ZdIscsiLimits(_CData):
    room: int
    sessions: int
    idle_ms: int
    stall_ms: int

class _ZdIscsiLogin(_CData):
    initiator: Any
    address: Any
    isid: Any
    tsih: int
    cid: int
    cmd_sn: int
    stat_sn: int
    max_send: int
    max_burst: int
    first_burst: int
    header_digest: int
    data_digest: int
    immediate_data: int
    initial_r2t: int

class _ZdIscsiSession(_CData):
    id: int
    initiator: Any
    address: Any
    isid: Any
    tsih: int
    since: int
    commands: int
    bytes_in: int
    bytes_out: int
    errors: int
    rejects: int
    under_way: int
    digests: int

class _ZdLogConfig(_CData):
    nr_segments: int
    segment_blocks: int
    nr_blocks: int
    policy: int
    separate: int
    pools: int
    reserved: Any
    hot_segments: int
    reserve: int
    distribution: int
    reserved2: int
    a: float
    b: float
    seed: int

class _ZdLogCounts(_CData):
    user: int
    moved: int
    cleaned: int

class _ZdMover(_CData):
    take: Any
    give: Any

class _ZdNews(_CData):
    powered: int
    conditioned: int
    gone_back: int

class _ZdNvmeCommand(_CData):
    size: int
    nr_out: int
    nr_in: int
    reserved0: int
    sqe: Any
    out: Any
    done: Any
    arg: Any
    result: int
    status: int
    reserved1: Any
    in_length: int
    request: Any
    error: Any
    queue: Any
    ns: Any
    opcode: Any
    step: Any
    scratch: Any
    pieces: Any
    piece: Any
    slba: int
    blocks: int
    at: int
    room: int
    given: int
    turn: int
    index: int
    cancelled: int
    location: int
    after: Any
    link: Any
    waiting: Any
    serial: int
    held: int
    ended: int
    aborted: int
    waits: int
    reserved2: Any
    reserved: Any

class _ZdNvmeCommandInfo(_CData):
    name: Any
    opcode: int
    reserved: int
    flags: int
    effects: int
    usage: Any

class _ZdNvmeNames(_CData):
    nqn: Any
    serial: Any
    model: Any
    firmware: Any
    reserved: int
    in_capsule: int
    max_depth: int
    reserved1: int

class _ZdNvmetcpConnect(_CData):
    host: Any
    address: Any
    host_id: Any
    controller: int
    queue: int
    depth: int
    taken: int
    keep_alive: int
    align: int
    header_digest: int
    data_digest: int
    no_flow_control: int

class _ZdNvmetcpLimits(_CData):
    room: int
    queues: int
    stall_ms: int

class _ZdNvmetcpQueue(_CData):
    id: int
    host: Any
    address: Any
    host_id: Any
    controller: int
    queue: int
    depth: int
    reserved: int
    since: int
    commands: int
    bytes_in: int
    bytes_out: int
    errors: int
    under_way: int
    keep_alive: int
    digests: int

class _ZdPace(_CData):
    begin: Any
    left: Any
    drop: Any
    end: Any

class _ZdPin(_CData):
    at: Any
    length: int
    slot: int
    pid: int
    reserved: int

class _ZdRange(_CData):
    first: int
    count: int

class _ZdRequest(_CData):
    size: int
    op: int
    flags: int
    zone: int
    count: int
    offset: int
    length: int
    iov: Any
    nr_iov: int
    filter: int
    zones: Any
    err: Any
    done: Any
    arg: Any
    result: int
    landed: int
    reserved0: int
    reserved1: int
    cancel: int
    mover: Any
    reserved: Any

class _ZdRuleInfo(_CData):
    name: Any
    err: int
    sense_key: int
    asc: int
    ascq: int
    reserved: int
    nvme_status: int

class _ZdSaidDisk(_CData):
    size: int
    zone_size: int
    append_limit: int
    zone_start: int
    zone_length: int
    zone_capacity: int
    nr_zones: int
    logical_block: int
    physical_block: int
    max_open: int
    max_active: int
    nr_implicit: int
    nr_explicit: int
    nr_closed: int
    dialect: int
    reserved: Any

class _ZdScsiCommandInfo(_CData):
    name: Any
    opcode: int
    length: int
    action: int
    timeout: int
    flags: int
    usage: Any

class _ZdScsiNames(_CData):
    vendor: Any
    product: Any
    revision: Any
    serial: Any

class _ZdScsiPort(_CData):
    name: Any
    relative: int
    protocol: int
    reserved: int

class _ZdScsiTask(_CData):
    size: int
    cdb_length: int
    cdb: Any
    lun: Any
    out: Any
    nr_out: int
    nr_in: int
    done: Any
    arg: Any
    tag: int
    status: int
    sense_length: int
    unanswered: int
    reserved0: Any
    sense: Any
    in_length: int
    residual_in: int
    residual_out: int
    request: Any
    error: Any
    nexus: Any
    unit: Any
    command: Any
    step: Any
    scratch: Any
    pieces: Any
    piece: Any
    lba: int
    blocks: int
    room: int
    given: int
    wants_in: int
    wants_out: int
    next: Any
    turn: int
    index: int
    kept: int
    cancelled: int
    after: Any
    link: Any
    serial: int
    held: int
    ended: int
    aborted: int
    aborts: int
    reserved1: Any
    untaken: int
    reserved: Any

class _ZdSimBin(_CData):
    filled: int
    open: int
    closed: int
    full: int
    resets: int

class _ZdSimDm(_CData):
    cache_bytes: int
    map_entries: int
    reserved: int
    band_bytes: int
    band_passes: int
    streams: int
    idle_ns: int

class _ZdSimDone(_CData):
    time: int
    latency: int
    offset: int
    length: int
    dir: int
    reserved: int

class _ZdSimHdd(_CData):
    rpm: int
    heads: int
    rate_outer: float
    rate_inner: float
    seek_one: int
    seek_avg: int
    seek_full: int
    seek_margin: int
    head_switch: int
    write_settle: int
    overhead: int
    interface_rate: float
    fill_rate: float
    cache_bytes: int
    cache_entries: int
    stream_bytes: int
    readahead: int
    queue: int
    piece: int
    zone_switch: int
    reset: int
    finish: int
    open: int
    close: int

class _ZdSimJob(_CData):
    kind: int
    iodepth: int
    offset: int
    size: int
    io_size: int
    number_ios: int
    reads: int
    writes: int
    trims: int
    random: int
    zbd: int
    append: int
    identical: int
    norandommap: int
    read_beyond_wp: int
    ignore_zone_limits: int
    time_based: int
    verify: int
    trimwrite: int
    log_policy: int
    log_separate: int
    zones_finish: int
    zones_finished: int
    zones_command: int
    thinktime_issue: int
    durable: int
    end_fsync: int
    diskless: int
    write_remainder: int
    exitall: int
    poisson: int
    strided: int
    latency_run: int
    zone_lock: int
    log: int
    exit_on_error: int
    steady_slope: int
    steady_percent: int
    sequence: int
    sequence_add: int
    mix_read: int
    distribution: int
    a: float
    b: float
    ranges: Any
    nr_ranges: int
    loops: int
    nr_split: Any
    split: Any
    bs_min: Any
    bs_max: Any
    rate: Any
    rate_iops: Any
    thinktime_blocks: int
    thinktime: int
    runtime: int
    ramp: int
    startdelay: int
    group: int
    wait_for: int
    max_open_zones: int
    job_max_open_zones: int
    reset_threshold: float
    reset_frequency: float
    log_block: int
    log_spare: float
    log_warm: int
    occupancy: float
    zones_count: int
    reserved2: int
    seed: int
    fsync: int
    align: Any
    named_first: int
    named_count: int
    flow: int
    flow_id: int
    flow_sleep: int
    zone_bytes: int
    zone_range: int
    zone_skip: int
    verify_backlog: int
    verify_batch: int
    latency_target: int
    latency_window: int
    latency_percentile: float
    rate_min: Any
    rate_iops_min: Any
    rate_cycle: int
    batch_complete: int
    depth_low: int
    steady: int
    steady_group: int
    steady_limit: float
    steady_duration: int
    steady_ramp: int
    steady_interval: int

class _ZdSimModel(_CData):
    kind: int
    reserved: int
    null_ns: int
    host_ns: int
    merge_bytes: int
    hdd: Any
    zns: Any
    dm: Any

class _ZdSimRange(_CData):
    access: float
    space: float

class _ZdSimRecord(_CData):
    time: int
    offset: int
    length: int
    dir: int
    device: int

class _ZdSimResult(_CData):
    dir: Any
    started: int
    ended: int
    zone_resets: int
    depth: Any
    wait_host: int
    wait_zone: int
    wait_rest: int
    error: int
    stopped: int
    why: Any
    log_user: int
    log_moved: int
    log_segments: int
    syncs: int
    sync_sum: int
    sync_min: int
    sync_max: int
    depth_found: int
    steady: int
    folded: int
    implicit_open: int
    explicit_open: int
    closed: int
    reserved: int
    steady_criterion: float
    steady_bytes: int
    steady_iops: int
    steady_latency: int

class _ZdSimSample(_CData):
    bytes: Any
    count: Any
    lat_sum: Any
    lat_max: Any
    resets: int

class _ZdSimSplit(_CData):
    bytes: int
    percent: int
    reserved: int

class _ZdSimStats(_CData):
    count: int
    bytes: int
    min: int
    max: int
    sum: int
    sum_squares: float
    first: int
    last: int
    errors: int

class _ZdSimSummary(_CData):
    now: int
    commands: int
    parts: Any
    opens: int
    closes: int
    finishes: int
    resets: int
    implicit_opens: int
    implicit_closes: int
    moved: int
    seeks: Any
    series_step: int
    series_used: int
    first_zone: int
    zones_per_bin: int
    bins: int
    dm_fast: int
    dm_direct: int
    dm_cleaned: int
    dm_clean_bytes: int
    dm_full_at: int
    dm_full_entries: int
    media_bytes: int

class _ZdSimZns(_CData):
    write_base: int
    append_extra: int
    append_other: int
    unit: int
    write_unit_ns: float
    append_unit_ns: float
    list_ns: int
    write_service: int
    append_service: int
    read_service: int
    write_rate: float
    buffer_bytes: int
    shot_bytes: int
    shot_spread: float
    suspend_ns: int
    resume_ns: int
    suspend_reads: int
    dies: int
    stripe_bytes: int
    read_base: int
    read_kib_ns: float
    die_share: float
    read_rate: float
    page_bytes: int
    sense_ns: int
    ahead_base: int
    ahead_kib_ns: float
    ahead_service: int
    ahead_rate: float
    finish_base: int
    finish_rate: float
    finish_empty: int
    reset_base: int
    reset_full: int
    reset_data: int
    reset_unfinished: int
    reset_open_base: int
    reset_slice: int
    open_ns: int
    close_ns: int
    first_write_ns: int
    first_append_ns: int

class _ZdSnapshotBlock(_CData):
    zone: int
    lost: int
    offset: int

class _ZdSnapshotZone(_CData):
    zone: int
    type: int
    cond: int
    finished: int
    reserved: int
    written: int
    durable: int
    lost_from: int

class _ZdSurvivor(_CData):
    zone: int
    zero: int
    bytes: int

class _ZdTold(_CData):
    cmd: int
    zone: int
    offset: int
    length: int
    before: Any
    after: Any

class _ZdToldZone(_CData):
    written: int
    cond: int
    finished: int
    area: int
    reserved: int
    held: int

class _ZdTraceParser(_CData):
    format: int
    iolog_ns: int
    action: int
    zones: int
    files: int
    started: int
    line: int
    records: int
    bad: int
    ignored: int
    first_time: int
    clock: int
    bad_line: int
    bad_text: Any

class _ZdTraceReader(_CData):
    at: int
    commands: int
    start_ns: int
    virtual_ns: int
    pid: int
    tid: int
    crc: int
    damage: int
    ended: int
    with_data: int

class _ZdTraceRecord(_CData):
    number: int
    start_ns: int
    duration_ns: int
    virtual_ns: int
    offset: int
    length: int
    done: int
    landed: int
    wp: int
    bound: int
    result: int
    zone: int
    pid: int
    tid: int
    fault: int
    kind: int
    cmd: int
    cond: int
    injected: int
    flags: int
    marks: int
    reserved: Any
    data: int
    reserved2: int

class _ZdTraceStatus(_CData):
    struct_size: int
    recorder: int
    records: int
    lost: int
    waits: int
    bytes: int
    error: int
    mine: int
    keeps: int
    reserved: Any

class _ZdUblkConfig(_CData):
    size: int
    queues: int
    depth: int
    max_io: int
    id: int
    whole_zones: int
    reserved1: Any
    path: Any
    reserved: Any

class _ZdUblkCounters(_CData):
    commands: int
    bytes_in: int
    bytes_out: int
    errors: int
    repeated: int

class _ZdUblkDevice(_CData):
    mark: int
    pid: int
    state: int
    queues: int
    depth: int

class _ZdUblkState(_CData):
    magic: Any
    version: int
    id: int
    mark: int
    pid: int
    queues: int
    depth: int
    max_io: int
    uuid: Any
    boot: Any
    bytes: int
    whole_zones: int
    started: int
    reserved: Any
    path: Any

class _ZdZone(_CData):
    start: int
    length: int
    capacity: int
    wp: int
    durable_wp: int
    index: int
    type: int
    cond: int
    non_seq: int
    reset_recommended: int

class _ZdZoneCounters(_CData):
    reads: int
    writes: int
    appends: int
    bytes_read: int
    bytes_written: int
    finish_wasted: int
    opens: int
    closes: int
    finishes: int
    resets: int
    implicit_opens: int
    implicit_closes: int
    errors: int

class _ZdZoneState(_CData):
    written: int
    opened: int
    writes: int
    gen: int
    type: int
    cond: int
    non_seq: int
    reset_recommended: int

class _Lib(_Library):
    ZD_ABI: int
    ZD_ABI_MAJOR: int
    ZD_ABI_MINOR: int
    ZD_CHECK_BRIEFLY: int
    ZD_CHECK_REPAIR: int
    ZD_CLOSED: int
    ZD_CMD_APPEND: int
    ZD_CMD_CLOSE: int
    ZD_CMD_CLOSE_ALL: int
    ZD_CMD_COMMIT_ZRWA: int
    ZD_CMD_FINISH: int
    ZD_CMD_FINISH_ALL: int
    ZD_CMD_FLUSH: int
    ZD_CMD_OPEN: int
    ZD_CMD_OPEN_ALL: int
    ZD_CMD_OPEN_ZRWA: int
    ZD_CMD_POWER_CYCLE: int
    ZD_CMD_READ: int
    ZD_CMD_RESET: int
    ZD_CMD_RESET_ALL: int
    ZD_CMD_SET_EMPTY: int
    ZD_CMD_SET_EXTENSION: int
    ZD_CMD_SET_OFFLINE: int
    ZD_CMD_SET_READ_ONLY: int
    ZD_CMD_WRITE: int
    ZD_CONVENTIONAL: int
    ZD_CREATE_REPLACE: int
    ZD_DEFERRED: int
    ZD_EMPTY: int
    ZD_EXPLICIT_OPEN: int
    ZD_E_APPEND_LIMIT: int
    ZD_E_BLOCK_ALIGNMENT: int
    ZD_E_BUSY: int
    ZD_E_CLOSED: int
    ZD_E_COMMIT: int
    ZD_E_CONVENTIONAL: int
    ZD_E_CORRUPT: int
    ZD_E_FAILED: int
    ZD_E_FEATURE: int
    ZD_E_FIRST_RULE: int
    ZD_E_GAP: int
    ZD_E_GEOMETRY: int
    ZD_E_INVALID_READ: int
    ZD_E_INVALID_TRANSITION: int
    ZD_E_MEDIUM_READ: int
    ZD_E_MEDIUM_WRITE: int
    ZD_E_MISCOMPARE: int
    ZD_E_NOT_IMAGE: int
    ZD_E_OUTSIDE_ZRWA: int
    ZD_E_OUT_OF_RANGE: int
    ZD_E_POWER_LOSS: int
    ZD_E_READONLY_HANDLE: int
    ZD_E_READ_BOUNDARY: int
    ZD_E_READ_TYPE: int
    ZD_E_SEQUENTIAL: int
    ZD_E_TIMEOUT: int
    ZD_E_TOO_MANY_ACTIVE: int
    ZD_E_TOO_MANY_OPEN: int
    ZD_E_TRUNCATED: int
    ZD_E_UNALIGNED_WRITE: int
    ZD_E_UNSUPPORTED: int
    ZD_E_VERSION: int
    ZD_E_WRITE_BOUNDARY: int
    ZD_E_ZONE_FULL: int
    ZD_E_ZONE_OFFLINE: int
    ZD_E_ZONE_OPERATION: int
    ZD_E_ZONE_READ_ONLY: int
    ZD_E_ZRWA_UNAVAILABLE: int
    ZD_FAULT_FLIP_MEDIA: int
    ZD_FAULT_FLIP_READ: int
    ZD_FAULT_FLUSH_ERROR: int
    ZD_FAULT_HANG: int
    ZD_FAULT_LATENCY: int
    ZD_FAULT_LIMIT: int
    ZD_FAULT_LOST: int
    ZD_FAULT_MEDIUM: int
    ZD_FAULT_OFFLINE: int
    ZD_FAULT_POWER_CUT: int
    ZD_FAULT_READ_ONLY: int
    ZD_FAULT_TORN: int
    ZD_FS_EXPLICIT_OPEN: int
    ZD_FS_F_AGGRCNV: int
    ZD_FS_F_GID: int
    ZD_FS_F_PERM: int
    ZD_FS_F_UID: int
    ZD_FS_MAGIC: int
    ZD_FS_NEWS_LOST: int
    ZD_FS_NEWS_READONLY: int
    ZD_FS_NR_NEWS: int
    ZD_FS_READONLY: int
    ZD_FS_RELAXED: int
    ZD_FS_REMOUNT_RO: int
    ZD_FS_REPAIR: int
    ZD_FS_SET_ATIME: int
    ZD_FS_SET_GID: int
    ZD_FS_SET_MODE: int
    ZD_FS_SET_MTIME: int
    ZD_FS_SET_SIZE: int
    ZD_FS_SET_UID: int
    ZD_FS_TEXT: int
    ZD_FS_ZONE_OFFLINE: int
    ZD_FS_ZONE_RO: int
    ZD_FULL: int
    ZD_FX_ACTIVE: int
    ZD_FX_ADVANCE: int
    ZD_FX_CHECK: int
    ZD_FX_DURABLE: int
    ZD_FX_NON_SEQ: int
    ZD_FX_OPEN: int
    ZD_FX_WP_END: int
    ZD_FX_WP_START: int
    ZD_F_COUNT: int
    ZD_F_ENTRY: int
    ZD_F_ENTRY_LOST: int
    ZD_F_ENTRY_VALUE: int
    ZD_F_FAILED: int
    ZD_F_HEADER: int
    ZD_F_LIMIT: int
    ZD_F_RESERVED: int
    ZD_F_SHORT: int
    ZD_F_SLOT_SHARED: int
    ZD_F_STATUS: int
    ZD_F_UNCLEAN: int
    ZD_HOST_AWARE: int
    ZD_HOST_MANAGED: int
    ZD_IMAGE_VERSION: int
    ZD_IMPLICIT_OPEN: int
    ZD_ISCSI_CONNECTION_ROOM: int
    ZD_ISCSI_KEPT_ROOM: int
    ZD_ISCSI_NAME: int
    ZD_ISCSI_SEGMENT: int
    ZD_ISCSI_TEXT: int
    ZD_ISCSI_WINDOW: int
    ZD_KEEP_ALL: int
    ZD_KEEP_DURABLE: int
    ZD_KEEP_RANDOM: int
    ZD_LOWEST: int
    ZD_MAX_CONV_RANGES: int
    ZD_MAX_FAULTS: int
    ZD_MAX_LOST: int
    ZD_MAX_RULES: int
    ZD_MAX_SPOILED: int
    ZD_MAX_ZONES: int
    ZD_MOST_EXTENSION: int
    ZD_MOST_GRANULES: int
    ZD_NEXT_CLOSED: int
    ZD_NEXT_CLOSED_OR_EMPTY: int
    ZD_NEXT_EMPTY: int
    ZD_NEXT_ERROR: int
    ZD_NEXT_EXPLICIT_OPEN: int
    ZD_NEXT_FULL: int
    ZD_NEXT_IMPLICIT_OPEN: int
    ZD_NEXT_INITIAL: int
    ZD_NEXT_OFFLINE: int
    ZD_NEXT_READ_ONLY: int
    ZD_NEXT_SAME: int
    ZD_NONE: int
    ZD_NOT_WP: int
    ZD_NO_DATA: int
    ZD_NO_ZONE: int
    ZD_NR_CMDS: int
    ZD_NR_FAULT_KINDS: int
    ZD_NR_RULES: int
    ZD_NULLBLK: int
    ZD_NVMETCP_ADMIN_CAPSULE: int
    ZD_NVMETCP_DEPTH: int
    ZD_NVMETCP_IN_CAPSULE: int
    ZD_NVMETCP_SEGMENT: int
    ZD_NVMETCP_TEXT: int
    ZD_NVME_ABORT_REQUESTED: int
    ZD_NVME_ADMIN: int
    ZD_NVME_ALL: int
    ZD_NVME_CAPACITY: int
    ZD_NVME_CONVENTIONAL: int
    ZD_NVME_DATA_LENGTH: int
    ZD_NVME_DO_NOT_RETRY: int
    ZD_NVME_INTERNAL_ERROR: int
    ZD_NVME_INVALID_COMMAND_SET: int
    ZD_NVME_INVALID_FIELD: int
    ZD_NVME_INVALID_FORMAT: int
    ZD_NVME_INVALID_LOG_PAGE: int
    ZD_NVME_INVALID_NAMESPACE: int
    ZD_NVME_INVALID_OPCODE: int
    ZD_NVME_INVALID_ZONE_OP: int
    ZD_NVME_LBA_RANGE: int
    ZD_NVME_MAX_EVENTS: int
    ZD_NVME_MAX_NAME: int
    ZD_NVME_MAX_NAMESPACES: int
    ZD_NVME_MAX_QUEUES: int
    ZD_NVME_MAX_TRANSFER: int
    ZD_NVME_MORE: int
    ZD_NVME_NOT_CHANGEABLE: int
    ZD_NVME_NOT_SAVEABLE: int
    ZD_NVME_NVM: int
    ZD_NVME_QUEUE_DELETED: int
    ZD_NVME_SEQUENCE_ERROR: int
    ZD_NVME_SEQUENTIAL: int
    ZD_NVME_SIZE_LIMIT: int
    ZD_NVME_SUCCESS: int
    ZD_NVME_TOO_MANY_EVENT_REQUESTS: int
    ZD_NVME_WRITES: int
    ZD_NVME_WRITE_PROTECTED: int
    ZD_NVME_ZONED: int
    ZD_OFFLINE: int
    ZD_OLDEST: int
    ZD_OPEN_BRIEFLY: int
    ZD_OPEN_READONLY: int
    ZD_OP_APPEND: int
    ZD_OP_CLOSE: int
    ZD_OP_CLOSE_ALL: int
    ZD_OP_COMMIT_ZRWA: int
    ZD_OP_COMPARE: int
    ZD_OP_DEALLOCATE: int
    ZD_OP_FINISH: int
    ZD_OP_FINISH_ALL: int
    ZD_OP_FLUSH: int
    ZD_OP_OPEN: int
    ZD_OP_OPEN_ALL: int
    ZD_OP_OPEN_ZRWA: int
    ZD_OP_POWER_CYCLE: int
    ZD_OP_READ: int
    ZD_OP_REPORT: int
    ZD_OP_RESET: int
    ZD_OP_RESET_ALL: int
    ZD_OP_SET_EMPTY: int
    ZD_OP_SET_EXTENSION: int
    ZD_OP_SET_OFFLINE: int
    ZD_OP_SET_READ_ONLY: int
    ZD_OP_VERIFY: int
    ZD_OP_WRITE: int
    ZD_OP_WRITE_ZEROES: int
    ZD_PACE_NONE: int
    ZD_PACE_REAL: int
    ZD_READ_ONLY: int
    ZD_REPORT_ANY: int
    ZD_REPORT_CLOSED: int
    ZD_REPORT_EMPTY: int
    ZD_REPORT_EXPLICIT_OPEN: int
    ZD_REPORT_FULL: int
    ZD_REPORT_IMPLICIT_OPEN: int
    ZD_REPORT_NON_SEQ: int
    ZD_REPORT_NOT_WP: int
    ZD_REPORT_OFFLINE: int
    ZD_REPORT_READ_ONLY: int
    ZD_REPORT_RESET_RECOMMENDED: int
    ZD_REQ_ALL: int
    ZD_REQ_FUA: int
    ZD_REQ_PARTIAL: int
    ZD_ROUND_ROBIN: int
    ZD_SCSI_ABORT_TASK: int
    ZD_SCSI_ABORT_TASK_SET: int
    ZD_SCSI_BUSY: int
    ZD_SCSI_CHANGES_MEDIUM: int
    ZD_SCSI_CHECK_CONDITION: int
    ZD_SCSI_CLEAR_TASK_SET: int
    ZD_SCSI_GOOD: int
    ZD_SCSI_IF_CONVENTIONAL: int
    ZD_SCSI_LUN_RESET: int
    ZD_SCSI_MAX_LUNS: int
    ZD_SCSI_MAX_NAME: int
    ZD_SCSI_MAX_REGISTRATIONS: int
    ZD_SCSI_MAX_TRANSFER: int
    ZD_SCSI_NEEDS_MEDIUM: int
    ZD_SCSI_RESERVATION_CONFLICT: int
    ZD_SCSI_SENSE_ROOM: int
    ZD_SCSI_TARGET_COLD_RESET: int
    ZD_SCSI_TARGET_WARM_RESET: int
    ZD_SCSI_TASK_ABORTED: int
    ZD_SEQ_WRITE_PREFERRED: int
    ZD_SEQ_WRITE_REQUIRED: int
    ZD_SIM_BUCKETS: int
    ZD_SIM_BUFFER_FULL: int
    ZD_SIM_CLEAN: int
    ZD_SIM_CONTROLLER: int
    ZD_SIM_COST_BENEFIT: int
    ZD_SIM_DIE: int
    ZD_SIM_DM: int
    ZD_SIM_DONE: int
    ZD_SIM_EXIT_ALL: int
    ZD_SIM_EXIT_GROUP: int
    ZD_SIM_EXIT_NO: int
    ZD_SIM_EXIT_STONEWALL: int
    ZD_SIM_FIFO: int
    ZD_SIM_FLASH: int
    ZD_SIM_GREEDY: int
    ZD_SIM_HDD: int
    ZD_SIM_HOTCOLD: int
    ZD_SIM_INTERFACE: int
    ZD_SIM_JOB_FIO: int
    ZD_SIM_JOB_LOG: int
    ZD_SIM_JOB_TRACE: int
    ZD_SIM_JOB_ZONES: int
    ZD_SIM_MAX_SPLIT: int
    ZD_SIM_MEDIA: int
    ZD_SIM_MOST_LENGTH: int
    ZD_SIM_MOST_TIME: int
    ZD_SIM_MOVE: int
    ZD_SIM_NORMAL: int
    ZD_SIM_NR_DIRS: int
    ZD_SIM_NR_PARTS: int
    ZD_SIM_NULL: int
    ZD_SIM_OUTSIDE: int
    ZD_SIM_PARETO: int
    ZD_SIM_PAUSED: int
    ZD_SIM_READ: int
    ZD_SIM_REAL: int
    ZD_SIM_ROTATE: int
    ZD_SIM_SEEK: int
    ZD_SIM_SLOTS: int
    ZD_SIM_STEADY_BYTES: int
    ZD_SIM_STEADY_IOPS: int
    ZD_SIM_STEADY_LATENCY: int
    ZD_SIM_STEADY_NO: int
    ZD_SIM_SWITCH: int
    ZD_SIM_TRIM: int
    ZD_SIM_UNIFORM: int
    ZD_SIM_WANTS_TRACE: int
    ZD_SIM_WANTS_VICTIM: int
    ZD_SIM_WRITE: int
    ZD_SIM_ZIPF: int
    ZD_SIM_ZNS: int
    ZD_SIM_ZONED: int
    ZD_SIM_ZONE_BINS: int
    ZD_SIM_ZONE_COMMAND: int
    ZD_STORE: int
    ZD_SYNC_COMMAND: int
    ZD_SYNC_FLUSH: int
    ZD_SYNC_NEVER: int
    ZD_TRACE_ALIBABA: int
    ZD_TRACE_BASE: int
    ZD_TRACE_BEGIN: int
    ZD_TRACE_BLKPARSE: int
    ZD_TRACE_BODY: int
    ZD_TRACE_CHECKSUM: int
    ZD_TRACE_COMMAND: int
    ZD_TRACE_DATA: int
    ZD_TRACE_DIR_APPEND: int
    ZD_TRACE_DIR_CLOSE: int
    ZD_TRACE_DIR_CLOSE_ALL: int
    ZD_TRACE_DIR_FINISH: int
    ZD_TRACE_DIR_FINISH_ALL: int
    ZD_TRACE_DIR_OPEN: int
    ZD_TRACE_DIR_OPEN_ALL: int
    ZD_TRACE_DIR_RESET: int
    ZD_TRACE_DIR_RESET_ALL: int
    ZD_TRACE_END: int
    ZD_TRACE_FLIPS: int
    ZD_TRACE_FUA: int
    ZD_TRACE_HEADER: int
    ZD_TRACE_IOLOG2: int
    ZD_TRACE_IOLOG3: int
    ZD_TRACE_KEEP_CHOSEN: int
    ZD_TRACE_KIND: int
    ZD_TRACE_LAST: int
    ZD_TRACE_LONGEST_MARK: int
    ZD_TRACE_LOSES: int
    ZD_TRACE_LOST: int
    ZD_TRACE_MARK: int
    ZD_TRACE_MSR: int
    ZD_TRACE_POWER_CUT: int
    ZD_TRACE_POWER_ON: int
    ZD_TRACE_ROLLBACK: int
    ZD_TRACE_SOUND: int
    ZD_TRACE_TENCENT: int
    ZD_TRACE_VERSION: int
    ZD_TRACE_ZEROES: int
    ZD_TRACE_ZONE_AFTER: int
    ZD_TRACE_ZONE_BEFORE: int
    ZD_UBLK_DEAD: int
    ZD_UBLK_FAILING: int
    ZD_UBLK_LIVE: int
    ZD_UBLK_PATH: int
    ZD_UBLK_STATE_VERSION: int
    ZD_UBLK_WAITING: int
    ZD_ZBC: int
    ZD_ZNS: int
    def zd_abi(self) -> int: ...
    def zd_append(self, a0: _CData, a1: int, a2: _CData | bytes, a3: int, a4: _CData, a5: _CData, /) -> int: ...
    def zd_appendv(self, a0: _CData, a1: int, a2: _CData, a3: int, a4: _CData, a5: _CData, /) -> int: ...
    def zd_cancel(self, a0: _CData, a1: _CData, /) -> None: ...
    def zd_cell(self, a0: int, a1: int, a2: int, a3: int, /) -> _ZdCell: ...
    def zd_check(self, a0: _CData | bytes, a1: int, a2: _CData, a3: _CData, a4: _CData, /) -> int: ...
    def zd_clock_attach(self, a0: _CData, a1: _CData, a2: _CData, /) -> int: ...
    def zd_clock_command(self, a0: _CData, a1: _CData, /) -> int: ...
    def zd_clock_create(self, a0: _CData, a1: _CData, a2: int, a3: _CData, a4: _CData, /) -> int: ...
    def zd_clock_detach(self, a0: _CData, a1: _CData, /) -> None: ...
    def zd_clock_free(self, a0: _CData, /) -> None: ...
    def zd_clock_idle(self, a0: _CData, a1: int, /) -> None: ...
    def zd_clock_look(self, a0: _CData, a1: _CData, /) -> None: ...
    def zd_clock_runs(self, a0: _CData, /) -> int: ...
    def zd_close(self, a0: _CData, a1: _CData, /) -> int: ...
    def zd_cmd_name(self, a0: int, /) -> _CData: ...
    def zd_cond_name(self, a0: int, /) -> _CData: ...
    def zd_conv_ranges(self, a0: _CData, a1: _CData, a2: int, /) -> int: ...
    def zd_counters(self, a0: _CData, a1: _CData, a2: _CData, /) -> int: ...
    def zd_crc32c(self, a0: int, a1: _CData | bytes, a2: int, /) -> int: ...
    def zd_create(self, a0: _CData | bytes, a1: _CData, a2: int, a3: _CData, a4: _CData, /) -> int: ...
    def zd_dialect_name(self, a0: int, /) -> _CData: ...
    def zd_end_hangs(self, a0: _CData, /) -> None: ...
    def zd_fates_cut(self, a0: _CData, a1: int, a2: _CData, a3: int, a4: _CData, a5: _CData, a6: _CData, /) -> int: ...
    def zd_fault_add(self, a0: _CData, a1: _CData, a2: _CData, a3: _CData, /) -> int: ...
    def zd_fault_clear(self, a0: _CData, a1: int, a2: _CData, /) -> int: ...
    def zd_fault_commands(self, a0: int, /) -> int: ...
    def zd_fault_list(self, a0: _CData, a1: _CData, a2: int, a3: _CData, /) -> int: ...
    def zd_fault_release(self, a0: _CData, a1: int, a2: _CData, /) -> int: ...
    def zd_fault_spoil(self, a0: _CData, a1: int, a2: int, a3: _CData, /) -> int: ...
    def zd_fault_spoiled(self, a0: _CData, a1: int, a2: _CData, /) -> int: ...
    def zd_fault_virtual_ns(self, a0: _CData, /) -> int: ...
    def zd_fd(self, a0: _CData, /) -> int: ...
    def zd_findings_free(self, a0: _CData, /) -> None: ...
    def zd_flush(self, a0: _CData, a1: _CData, /) -> int: ...
    def zd_fork(self, a0: _CData, a1: _CData, a2: _CData, a3: _CData, /) -> int: ...
    def zd_fs_check_mmap(self, a0: _CData, a1: int, a2: int, /) -> int: ...
    def zd_fs_close(self, a0: _CData, a1: _CData, /) -> int: ...
    def zd_fs_detach(self, a0: _CData, /) -> None: ...
    def zd_fs_drop(self, a0: _CData, /) -> None: ...
    def zd_fs_fallocate(self, a0: _CData, a1: _CData, /) -> int: ...
    def zd_fs_fits(self, a0: _CData, a1: _CData, /) -> int: ...
    def zd_fs_forked(self, a0: _CData, /) -> None: ...
    def zd_fs_fsync(self, a0: _CData, a1: int, a2: _CData, /) -> int: ...
    def zd_fs_ftruncate(self, a0: _CData, a1: int, a2: _CData, /) -> int: ...
    def zd_fs_get_counters(self, a0: _CData, a1: _CData, /) -> None: ...
    def zd_fs_get_options(self, a0: _CData, a1: _CData, /) -> None: ...
    def zd_fs_getattr(self, a0: _CData, a1: int, a2: _CData, /) -> int: ...
    def zd_fs_lookup(self, a0: _CData, a1: int, a2: _CData | bytes, a3: _CData, /) -> int: ...
    def zd_fs_mkfs(self, a0: _CData, a1: _CData, a2: _CData, /) -> int: ...
    def zd_fs_mount(self, a0: _CData, a1: _CData, a2: _CData, a3: _CData, /) -> int: ...
    def zd_fs_news(self, a0: _CData, a1: _CData | bytes, /) -> int: ...
    def zd_fs_nr_writers(self, a0: _CData, /) -> int: ...
    def zd_fs_open(self, a0: _CData, a1: int, a2: int, a3: _CData, a4: _CData, /) -> int: ...
    def zd_fs_read(self, a0: _CData, a1: _CData | bytes, a2: int, a3: int, a4: int, a5: _CData, /) -> int: ...
    def zd_fs_read_begin(self, a0: _CData, a1: int, a2: int, a3: int, a4: _CData, a5: _CData, /) -> int: ...
    def zd_fs_read_end(self, a0: _CData, a1: int, /) -> None: ...
    def zd_fs_read_super(self, a0: _CData, a1: _CData, a2: _CData, /) -> int: ...
    def zd_fs_readdir(self, a0: _CData, a1: int, a2: _CData, a3: _CData, a4: _CData, a5: _CData | bytes, /) -> int: ...
    def zd_fs_remount(self, a0: _CData, a1: _CData, /) -> int: ...
    def zd_fs_revalidate(self, a0: _CData, a1: int, /) -> int: ...
    def zd_fs_root(self, a0: _CData, /) -> int: ...
    def zd_fs_setattr(self, a0: _CData, a1: int, a2: _CData, a3: int, a4: _CData, /) -> int: ...
    def zd_fs_settle(self, a0: _CData, a1: _CData, /) -> int: ...
    def zd_fs_statfs(self, a0: _CData, a1: _CData, /) -> int: ...
    def zd_fs_umount(self, a0: _CData, /) -> None: ...
    def zd_fs_unsettled(self, a0: _CData, /) -> int: ...
    def zd_fs_write(self, a0: _CData, a1: _CData | bytes, a2: int, a3: int, a4: int, a5: _CData, a6: _CData, /) -> int: ...
    def zd_get_interrupt(self, a0: _CData, a1: _CData, /) -> _CData: ...
    def zd_info(self, a0: _CData, a1: _CData, a2: _CData, /) -> int: ...
    def zd_log_changed(self, a0: _CData, a1: _CData, a2: int, /) -> int: ...
    def zd_log_clean(self, a0: _CData, a1: int, /) -> int: ...
    def zd_log_clock(self, a0: _CData, /) -> int: ...
    def zd_log_count_from_here(self, a0: _CData, /) -> None: ...
    def zd_log_counts(self, a0: _CData, a1: _CData, /) -> None: ...
    def zd_log_create(self, a0: _CData, a1: _CData, a2: _CData, /) -> int: ...
    def zd_log_filled(self, a0: _CData, /) -> _CData: ...
    def zd_log_free(self, a0: _CData, /) -> None: ...
    def zd_log_valid(self, a0: _CData, /) -> _CData: ...
    def zd_log_write(self, a0: _CData, a1: int, a2: _CData, a3: _CData, /) -> int: ...
    def zd_map_begin(self, a0: _CData, a1: int, a2: int, a3: _CData, a4: _CData, /) -> int: ...
    def zd_map_end(self, a0: _CData, a1: int, /) -> None: ...
    def zd_native_build(self) -> int: ...
    def zd_news(self, a0: _CData, a1: _CData, a2: _CData, /) -> int: ...
    def zd_nvme_cancel(self, a0: _CData, /) -> None: ...
    def zd_nvme_command_at(self, a0: int, a1: _CData, /) -> int: ...
    def zd_nvme_controller_close(self, a0: _CData, /) -> None: ...
    def zd_nvme_controller_id(self, a0: _CData, /) -> int: ...
    def zd_nvme_controller_open(self, a0: _CData, a1: _CData, a2: int, a3: _CData, a4: _CData, /) -> int: ...
    def zd_nvme_controller_open_as(self, a0: _CData, a1: int, a2: _CData, a3: int, a4: _CData, a5: _CData, /) -> int: ...
    def zd_nvme_controller_reset(self, a0: _CData, /) -> None: ...
    def zd_nvme_exec(self, a0: _CData, a1: _CData, /) -> None: ...
    def zd_nvme_keep_alive(self, a0: _CData, /) -> int: ...
    def zd_nvme_look(self, a0: _CData, /) -> None: ...
    def zd_nvme_memory_size(self, a0: _CData, /) -> int: ...
    def zd_nvme_namespace_add(self, a0: _CData, a1: int, a2: _CData, a3: int, a4: _CData, /) -> int: ...
    def zd_nvme_queue_close(self, a0: _CData, /) -> None: ...
    def zd_nvme_queue_open(self, a0: _CData, a1: int, a2: _CData, a3: _CData, /) -> int: ...
    def zd_nvme_recall(self, a0: _CData, a1: _CData | bytes, /) -> None: ...
    def zd_nvme_remember(self, a0: _CData, a1: _CData | bytes, /) -> None: ...
    def zd_nvme_subsystem_free(self, a0: _CData, /) -> None: ...
    def zd_nvme_subsystem_new(self, a0: _CData, a1: _CData, a2: _CData, /) -> int: ...
    def zd_nvme_transfer(self, a0: _CData, a1: _CData, a2: _CData, a3: _CData, /) -> None: ...
    def zd_observe(self, a0: _CData, a1: _CData, a2: _CData | bytes, a3: _CData, a4: _CData, /) -> int: ...
    def zd_observe_end(self, a0: _CData, a1: _CData | bytes, /) -> None: ...
    def zd_open(self, a0: _CData | bytes, a1: int, a2: _CData, a3: _CData, /) -> int: ...
    def zd_others_write(self, a0: _CData, a1: _CData, /) -> int: ...
    def zd_own_clock(self, a0: _CData | bytes, /) -> None: ...
    def zd_own_findings(self, a0: _CData | bytes, /) -> None: ...
    def zd_own_forgotten_iscsi(self, a0: _CData | bytes, /) -> None: ...
    def zd_own_forgotten_nvmetcp(self, a0: _CData | bytes, /) -> None: ...
    def zd_own_forgotten_ublk(self, a0: _CData | bytes, /) -> None: ...
    def zd_own_fs(self, a0: _CData | bytes, /) -> None: ...
    def zd_own_fs_detached(self, a0: _CData | bytes, /) -> None: ...
    def zd_own_iscsi(self, a0: _CData | bytes, /) -> None: ...
    def zd_own_left(self, a0: _CData | bytes, /) -> None: ...
    def zd_own_log(self, a0: _CData | bytes, /) -> None: ...
    def zd_own_nvmetcp(self, a0: _CData | bytes, /) -> None: ...
    def zd_own_sim(self, a0: _CData | bytes, /) -> None: ...
    def zd_own_snapshot(self, a0: _CData | bytes, /) -> None: ...
    def zd_own_ublk(self, a0: _CData | bytes, /) -> None: ...
    def zd_pace_as(self, a0: _CData, a1: _CData, a2: _CData, a3: int, a4: _CData, /) -> int: ...
    def zd_pin(self, a0: _CData, a1: int, a2: int, a3: _CData, a4: _CData, /) -> int: ...
    def zd_place(self, a0: _CData | bytes, a1: _CData | bytes, a2: int, a3: _CData, /) -> int: ...
    def zd_power(self, a0: _CData, a1: _CData, /) -> int: ...
    def zd_power_cut(self, a0: _CData, a1: int, a2: int, a3: _CData, /) -> int: ...
    def zd_power_cut_to(self, a0: _CData, a1: _CData, a2: _CData, /) -> int: ...
    def zd_power_cycle(self, a0: _CData, a1: _CData, /) -> int: ...
    def zd_power_on(self, a0: _CData, a1: _CData, /) -> int: ...
    def zd_power_track(self, a0: _CData, a1: int, a2: _CData, /) -> int: ...
    def zd_power_tracked(self, a0: _CData, a1: _CData, /) -> int: ...
    def zd_pread(self, a0: _CData, a1: _CData | bytes, a2: int, a3: int, a4: _CData, /) -> int: ...
    def zd_preadv(self, a0: _CData, a1: _CData, a2: int, a3: int, a4: _CData, /) -> int: ...
    def zd_pwrite(self, a0: _CData, a1: _CData | bytes, a2: int, a3: int, a4: _CData, /) -> int: ...
    def zd_pwritev(self, a0: _CData, a1: _CData, a2: int, a3: int, a4: _CData, /) -> int: ...
    zd_python_watch: _CData
    def zd_replaceable(self, a0: _CData | bytes, a1: _CData, /) -> int: ...
    def zd_report(self, a0: _CData, a1: int, a2: int, a3: _CData, a4: _CData, /) -> int: ...
    def zd_reserve(self, a0: _CData, a1: int, a2: int, a3: _CData, /) -> int: ...
    def zd_rollback(self, a0: _CData, a1: _CData, a2: _CData, /) -> int: ...
    def zd_rule_info(self, a0: int, a1: int, /) -> _ZdRuleInfo: ...
    def zd_rule_name(self, a0: int, /) -> _CData: ...
    def zd_rule_sentence(self, a0: _CData, a1: _CData, a2: _CData | bytes, a3: int, /) -> int: ...
    def zd_scsi_cancel(self, a0: _CData, /) -> None: ...
    def zd_scsi_command_at(self, a0: int, a1: _CData, /) -> int: ...
    def zd_scsi_exec(self, a0: _CData, a1: _CData, /) -> None: ...
    def zd_scsi_manage(self, a0: _CData, a1: int, a2: _CData, a3: int, /) -> int: ...
    def zd_scsi_nexus_close(self, a0: _CData, /) -> None: ...
    def zd_scsi_nexus_open(self, a0: _CData, a1: _CData | bytes, a2: int, a3: _CData, a4: _CData, /) -> int: ...
    def zd_scsi_reset(self, a0: _CData, a1: _CData, /) -> int: ...
    def zd_scsi_target_add(self, a0: _CData, a1: int, a2: _CData, a3: _CData, a4: _CData, /) -> int: ...
    def zd_scsi_target_free(self, a0: _CData, /) -> None: ...
    def zd_scsi_target_new(self, a0: _CData, a1: _CData, a2: _CData, /) -> int: ...
    def zd_scsi_transfer(self, a0: _CData, a1: _CData, a2: _CData, a3: int, a4: _CData, a5: _CData, /) -> None: ...
    def zd_serve_iscsi_drop(self, a0: _CData, a1: int, /) -> int: ...
    def zd_serve_iscsi_event(self, a0: _CData, /) -> int: ...
    def zd_serve_iscsi_forget(self, a0: _CData, /) -> None: ...
    def zd_serve_iscsi_free(self, a0: _CData, /) -> None: ...
    def zd_serve_iscsi_here(self, a0: _CData, a1: int, a2: _CData, a3: _CData, /) -> int: ...
    def zd_serve_iscsi_list(self, a0: _CData, a1: _CData, a2: int, /) -> int: ...
    def zd_serve_iscsi_new(self, a0: _CData | bytes, a1: int, a2: _CData, a3: _CData, a4: _CData, /) -> int: ...
    def zd_serve_iscsi_said(self, a0: _CData, a1: _CData | bytes, /) -> int: ...
    def zd_serve_iscsi_stop(self, a0: _CData, a1: int, /) -> None: ...
    def zd_serve_iscsi_take(self, a0: _CData, a1: int, a2: _CData, a3: _CData, a4: _CData, /) -> int: ...
    def zd_serve_iscsi_targets(self, a0: _CData, a1: _CData | bytes, a2: int, a3: _CData, /) -> int: ...
    def zd_serve_iscsi_unit(self, a0: _CData, a1: int, a2: _CData, a3: _CData, /) -> int: ...
    def zd_serve_nvmetcp_drop(self, a0: _CData, a1: int, /) -> int: ...
    def zd_serve_nvmetcp_event(self, a0: _CData, /) -> int: ...
    def zd_serve_nvmetcp_forget(self, a0: _CData, /) -> None: ...
    def zd_serve_nvmetcp_free(self, a0: _CData, /) -> None: ...
    def zd_serve_nvmetcp_here(self, a0: _CData, a1: int, a2: _CData, a3: _CData, /) -> int: ...
    def zd_serve_nvmetcp_list(self, a0: _CData, a1: _CData, a2: int, /) -> int: ...
    def zd_serve_nvmetcp_namespace(self, a0: _CData, a1: int, a2: _CData, a3: int, a4: _CData, /) -> int: ...
    def zd_serve_nvmetcp_new(self, a0: _CData | bytes, a1: _CData, a2: _CData, a3: _CData, /) -> int: ...
    def zd_serve_nvmetcp_said(self, a0: _CData, a1: _CData | bytes, /) -> int: ...
    def zd_serve_nvmetcp_stop(self, a0: _CData, /) -> None: ...
    def zd_serve_nvmetcp_take(self, a0: _CData, a1: int, a2: _CData, a3: _CData, a4: _CData, /) -> int: ...
    def zd_serve_ublk_again(self, a0: _CData, a1: int, a2: _CData, a3: _CData, /) -> int: ...
    def zd_serve_ublk_counters(self, a0: _CData, a1: _CData, /) -> None: ...
    def zd_serve_ublk_event(self, a0: _CData, /) -> int: ...
    def zd_serve_ublk_forget(self, a0: _CData, /) -> None: ...
    def zd_serve_ublk_free(self, a0: _CData, /) -> None: ...
    def zd_serve_ublk_id(self, a0: _CData, /) -> int: ...
    def zd_serve_ublk_new(self, a0: _CData, a1: _CData, a2: int, a3: _CData, a4: _CData, /) -> int: ...
    def zd_set_condition(self, a0: _CData, a1: int, a2: int, a3: _CData, /) -> int: ...
    def zd_set_interrupt(self, a0: _CData, a1: _CData, a2: _CData | bytes, /) -> None: ...
    def zd_set_pace(self, a0: _CData, a1: _CData, a2: _CData | bytes, a3: _CData, /) -> int: ...
    def zd_sim_add_job(self, a0: _CData, a1: _CData, a2: _CData, /) -> int: ...
    def zd_sim_apply(self, a0: _CData, a1: int, a2: int, a3: int, a4: _CData, /) -> int: ...
    def zd_sim_attach(self, a0: _CData, a1: _CData, a2: _CData | bytes, a3: int, a4: _CData, /) -> int: ...
    def zd_sim_bare(self, a0: _CData, a1: int, a2: int, a3: int, /) -> int: ...
    def zd_sim_bare_device(self, a0: _CData, a1: int, a2: int, a3: int, a4: _CData | bytes, /) -> int: ...
    def zd_sim_bins(self, a0: _CData, a1: _CData, a2: int, /) -> int: ...
    def zd_sim_bucket(self, a0: int, /) -> int: ...
    def zd_sim_commands(self, a0: _CData, a1: int, a2: _CData, a3: int, /) -> int: ...
    def zd_sim_create(self, a0: _CData, a1: _CData, a2: int, a3: _CData, a4: _CData, /) -> int: ...
    def zd_sim_exp(self, a0: float, /) -> float: ...
    def zd_sim_feed(self, a0: _CData, a1: int, a2: _CData, a3: int, a4: int, a5: _CData, /) -> int: ...
    def zd_sim_fill(self, a0: _CData, a1: int, a2: int, a3: int, a4: int, a5: _CData, /) -> int: ...
    def zd_sim_free(self, a0: _CData, /) -> None: ...
    def zd_sim_histogram(self, a0: _CData, a1: int, a2: int, a3: _CData, /) -> int: ...
    def zd_sim_log(self, a0: float, /) -> float: ...
    def zd_sim_picture(self, a0: _CData, a1: _CData, a2: int, /) -> int: ...
    def zd_sim_pow(self, a0: float, a1: float, /) -> float: ...
    def zd_sim_report(self, a0: _CData, a1: int, a2: int, a3: _CData, /) -> int: ...
    def zd_sim_result(self, a0: _CData, a1: int, a2: _CData, /) -> int: ...
    def zd_sim_run(self, a0: _CData, a1: int, a2: _CData, /) -> int: ...
    def zd_sim_series(self, a0: _CData, a1: _CData, a2: int, /) -> int: ...
    def zd_sim_summary(self, a0: _CData, a1: _CData, /) -> int: ...
    def zd_snapshot_fates(self, a0: _CData, a1: _CData, a2: int, a3: _CData, a4: _CData, /) -> int: ...
    def zd_snapshot_free(self, a0: _CData, /) -> None: ...
    def zd_snapshot_look(self, a0: _CData, a1: _CData, a2: _CData, /) -> int: ...
    def zd_snapshot_rows(self, a0: _CData, a1: _CData, a2: int, /) -> int: ...
    def zd_snapshot_share(self, a0: _CData, a1: _CData, /) -> None: ...
    def zd_snapshot_take(self, a0: _CData, a1: _CData, a2: _CData, /) -> int: ...
    def zd_snapshot_unflushed(self, a0: _CData, a1: _CData, a2: int, a3: _CData, /) -> int: ...
    def zd_strerror(self, a0: int, /) -> _CData: ...
    def zd_submit(self, a0: _CData, a1: _CData, /) -> int: ...
    def zd_trace_keep(self, a0: _CData, a1: int, a2: _CData, /) -> int: ...
    def zd_trace_last(self, a0: _CData, a1: _CData, a2: int, a3: _CData, /) -> int: ...
    def zd_trace_mark(self, a0: _CData, a1: _CData | bytes, a2: int, a3: _CData, /) -> int: ...
    def zd_trace_parse(self, a0: _CData, a1: _CData | bytes, a2: int, a3: int, a4: _CData, a5: int, a6: _CData, /) -> int: ...
    def zd_trace_read(self, a0: _CData, a1: _CData | bytes, a2: int, a3: _CData, a4: int, a5: _CData, /) -> int: ...
    def zd_trace_start(self, a0: _CData, a1: int, a2: _CData, /) -> int: ...
    def zd_trace_start_data(self, a0: _CData, a1: int, a2: _CData, /) -> int: ...
    def zd_trace_status(self, a0: _CData, a1: _CData, a2: _CData, /) -> int: ...
    def zd_trace_stop(self, a0: _CData, a1: _CData, a2: _CData, /) -> int: ...
    def zd_ublk_delete(self, a0: int, a1: int, a2: _CData, /) -> int: ...
    def zd_ublk_look_up(self, a0: int, a1: _CData, a2: _CData, /) -> int: ...
    def zd_ublk_state(self, a0: int, a1: _CData, a2: _CData, /) -> int: ...
    def zd_unpin(self, a0: _CData, a1: _CData, /) -> None: ...
    def zd_waited_for(self) -> _CData: ...
    def zd_watch(self, a0: _CData, a1: _CData, a2: _CData | bytes, /) -> None: ...
    def zd_watched(self, a0: _CData, a1: int, a2: int, a3: int, a4: int, /) -> int: ...
    def zd_zone_commit_zrwa(self, a0: _CData, a1: int, a2: int, a3: _CData, /) -> int: ...
    def zd_zone_counters(self, a0: _CData, a1: int, a2: int, a3: _CData, a4: _CData, /) -> int: ...
    def zd_zone_extension(self, a0: _CData, a1: int, a2: _CData | bytes, a3: _CData, /) -> int: ...
    def zd_zone_mgmt(self, a0: _CData, a1: int, a2: int, a3: int, a4: _CData, /) -> int: ...
    def zd_zone_open_zrwa(self, a0: _CData, a1: int, a2: _CData, /) -> int: ...
    def zd_zone_opened(self, a0: _CData, a1: int, a2: _CData, /) -> int: ...
    def zd_zone_set_extension(self, a0: _CData, a1: int, a2: _CData | bytes, a3: int, a4: _CData, /) -> int: ...
    def zd_zone_state(self, a0: _CData, a1: int, a2: _CData, a3: _CData, /) -> int: ...
    def zd_zone_states(self, a0: _CData, a1: _CData, a2: _CData, /) -> int: ...
    def zd_zone_written(self, a0: _CData, a1: int, a2: _CData, /) -> int: ...
    def zd_zone_zrwa(self, a0: _CData, a1: int, a2: _CData, a3: _CData, /) -> int: ...

class _FFI(_Base):
    @overload
    def new(self, cdecl: Literal["struct iovec *"], init: object = ...) -> _Iovec: ...
    @overload
    def new(self, cdecl: Literal["struct stat *"], init: object = ...) -> _Stat: ...
    @overload
    def new(self, cdecl: Literal["struct timespec *"], init: object = ...) -> _Timespec: ...
    @overload
    def new(self, cdecl: Literal["struct zd_cell *"], init: object = ...) -> _ZdCell: ...
    @overload
    def new(self, cdecl: Literal["struct zd_clock_state *"], init: object = ...) -> _ZdClockState: ...
    @overload
    def new(self, cdecl: Literal["struct zd_config *"], init: object = ...) -> _ZdConfig: ...
    @overload
    def new(self, cdecl: Literal["struct zd_counters *"], init: object = ...) -> _ZdCounters: ...
    @overload
    def new(self, cdecl: Literal["struct zd_cut *"], init: object = ...) -> _ZdCut: ...
    @overload
    def new(self, cdecl: Literal["struct zd_error *"], init: object = ...) -> _ZdError: ...
    @overload
    def new(self, cdecl: Literal["struct zd_fate *"], init: object = ...) -> _ZdFate: ...
    @overload
    def new(self, cdecl: Literal["struct zd_fault *"], init: object = ...) -> _ZdFault: ...
    @overload
    def new(self, cdecl: Literal["struct zd_finding *"], init: object = ...) -> _ZdFinding: ...
    @overload
    def new(self, cdecl: Literal["struct zd_fs_counters *"], init: object = ...) -> _ZdFsCounters: ...
    @overload
    def new(self, cdecl: Literal["struct zd_fs_format *"], init: object = ...) -> _ZdFsFormat: ...
    @overload
    def new(self, cdecl: Literal["struct zd_fs_options *"], init: object = ...) -> _ZdFsOptions: ...
    @overload
    def new(self, cdecl: Literal["struct zd_fs_statfs *"], init: object = ...) -> _ZdFsStatfs: ...
    @overload
    def new(self, cdecl: Literal["struct zd_info *"], init: object = ...) -> _ZdInfo: ...
    @overload
    def new(self, cdecl: Literal["struct zd_iscsi_limits *"], init: object = ...) -> _ZdIscsiLimits: ...
    @overload
    def new(self, cdecl: Literal["struct zd_iscsi_login *"], init: object = ...) -> _ZdIscsiLogin: ...
    @overload
    def new(self, cdecl: Literal["struct zd_iscsi_session *"], init: object = ...) -> _ZdIscsiSession: ...
    @overload
    def new(self, cdecl: Literal["struct zd_log_config *"], init: object = ...) -> _ZdLogConfig: ...
    @overload
    def new(self, cdecl: Literal["struct zd_log_counts *"], init: object = ...) -> _ZdLogCounts: ...
    @overload
    def new(self, cdecl: Literal["struct zd_mover *"], init: object = ...) -> _ZdMover: ...
    @overload
    def new(self, cdecl: Literal["struct zd_news *"], init: object = ...) -> _ZdNews: ...
    @overload
    def new(self, cdecl: Literal["struct zd_nvme_command *"], init: object = ...) -> _ZdNvmeCommand: ...
    @overload
    def new(self, cdecl: Literal["struct zd_nvme_command_info *"], init: object = ...) -> _ZdNvmeCommandInfo: ...
    @overload
    def new(self, cdecl: Literal["struct zd_nvme_names *"], init: object = ...) -> _ZdNvmeNames: ...
    @overload
    def new(self, cdecl: Literal["struct zd_nvmetcp_connect *"], init: object = ...) -> _ZdNvmetcpConnect: ...
    @overload
    def new(self, cdecl: Literal["struct zd_nvmetcp_limits *"], init: object = ...) -> _ZdNvmetcpLimits: ...
    @overload
    def new(self, cdecl: Literal["struct zd_nvmetcp_queue *"], init: object = ...) -> _ZdNvmetcpQueue: ...
    @overload
    def new(self, cdecl: Literal["struct zd_pace *"], init: object = ...) -> _ZdPace: ...
    @overload
    def new(self, cdecl: Literal["struct zd_pin *"], init: object = ...) -> _ZdPin: ...
    @overload
    def new(self, cdecl: Literal["struct zd_range *"], init: object = ...) -> _ZdRange: ...
    @overload
    def new(self, cdecl: Literal["struct zd_request *"], init: object = ...) -> _ZdRequest: ...
    @overload
    def new(self, cdecl: Literal["struct zd_rule_info *"], init: object = ...) -> _ZdRuleInfo: ...
    @overload
    def new(self, cdecl: Literal["struct zd_said_disk *"], init: object = ...) -> _ZdSaidDisk: ...
    @overload
    def new(self, cdecl: Literal["struct zd_scsi_command_info *"], init: object = ...) -> _ZdScsiCommandInfo: ...
    @overload
    def new(self, cdecl: Literal["struct zd_scsi_names *"], init: object = ...) -> _ZdScsiNames: ...
    @overload
    def new(self, cdecl: Literal["struct zd_scsi_port *"], init: object = ...) -> _ZdScsiPort: ...
    @overload
    def new(self, cdecl: Literal["struct zd_scsi_task *"], init: object = ...) -> _ZdScsiTask: ...
    @overload
    def new(self, cdecl: Literal["struct zd_sim_bin *"], init: object = ...) -> _ZdSimBin: ...
    @overload
    def new(self, cdecl: Literal["struct zd_sim_dm *"], init: object = ...) -> _ZdSimDm: ...
    @overload
    def new(self, cdecl: Literal["struct zd_sim_done *"], init: object = ...) -> _ZdSimDone: ...
    @overload
    def new(self, cdecl: Literal["struct zd_sim_hdd *"], init: object = ...) -> _ZdSimHdd: ...
    @overload
    def new(self, cdecl: Literal["struct zd_sim_job *"], init: object = ...) -> _ZdSimJob: ...
    @overload
    def new(self, cdecl: Literal["struct zd_sim_model *"], init: object = ...) -> _ZdSimModel: ...
    @overload
    def new(self, cdecl: Literal["struct zd_sim_range *"], init: object = ...) -> _ZdSimRange: ...
    @overload
    def new(self, cdecl: Literal["struct zd_sim_record *"], init: object = ...) -> _ZdSimRecord: ...
    @overload
    def new(self, cdecl: Literal["struct zd_sim_result *"], init: object = ...) -> _ZdSimResult: ...
    @overload
    def new(self, cdecl: Literal["struct zd_sim_sample *"], init: object = ...) -> _ZdSimSample: ...
    @overload
    def new(self, cdecl: Literal["struct zd_sim_split *"], init: object = ...) -> _ZdSimSplit: ...
    @overload
    def new(self, cdecl: Literal["struct zd_sim_stats *"], init: object = ...) -> _ZdSimStats: ...
    @overload
    def new(self, cdecl: Literal["struct zd_sim_summary *"], init: object = ...) -> _ZdSimSummary: ...
    @overload
    def new(self, cdecl: Literal["struct zd_sim_zns *"], init: object = ...) -> _ZdSimZns: ...
    @overload
    def new(self, cdecl: Literal["struct zd_snapshot_block *"], init: object = ...) -> _ZdSnapshotBlock: ...
    @overload
    def new(self, cdecl: Literal["struct zd_snapshot_zone *"], init: object = ...) -> _ZdSnapshotZone: ...
    @overload
    def new(self, cdecl: Literal["struct zd_survivor *"], init: object = ...) -> _ZdSurvivor: ...
    @overload
    def new(self, cdecl: Literal["struct zd_told *"], init: object = ...) -> _ZdTold: ...
    @overload
    def new(self, cdecl: Literal["struct zd_told_zone *"], init: object = ...) -> _ZdToldZone: ...
    @overload
    def new(self, cdecl: Literal["struct zd_trace_parser *"], init: object = ...) -> _ZdTraceParser: ...
    @overload
    def new(self, cdecl: Literal["struct zd_trace_reader *"], init: object = ...) -> _ZdTraceReader: ...
    @overload
    def new(self, cdecl: Literal["struct zd_trace_record *"], init: object = ...) -> _ZdTraceRecord: ...
    @overload
    def new(self, cdecl: Literal["struct zd_trace_status *"], init: object = ...) -> _ZdTraceStatus: ...
    @overload
    def new(self, cdecl: Literal["struct zd_ublk_config *"], init: object = ...) -> _ZdUblkConfig: ...
    @overload
    def new(self, cdecl: Literal["struct zd_ublk_counters *"], init: object = ...) -> _ZdUblkCounters: ...
    @overload
    def new(self, cdecl: Literal["struct zd_ublk_device *"], init: object = ...) -> _ZdUblkDevice: ...
    @overload
    def new(self, cdecl: Literal["struct zd_ublk_state *"], init: object = ...) -> _ZdUblkState: ...
    @overload
    def new(self, cdecl: Literal["struct zd_zone *"], init: object = ...) -> _ZdZone: ...
    @overload
    def new(self, cdecl: Literal["struct zd_zone_counters *"], init: object = ...) -> _ZdZoneCounters: ...
    @overload
    def new(self, cdecl: Literal["struct zd_zone_state *"], init: object = ...) -> _ZdZoneState: ...
    @overload
    def new(self, cdecl: str | _CType, init: object = ...) -> _CData: ...

ffi: _FFI
lib: _Lib
