from crosshead.losses.protocol import Array, Float

class Features:
    @property
    def rows(self) -> int: ...
    @property
    def columns(self) -> int: ...
    @property
    def split(self) -> bool: ...

def dense_features(x: Array) -> Features: ...
def csr_features(values: Array, indices: Array, row_starts: Array, columns: int) -> Features: ...
def chosen_rows(features: Features, rows: Array) -> Features: ...
def bfloat16_features(source: Features, copy: Array, unit: float, rounded: bool, threads: int) -> Features | None: ...
def rounded_features(source: Features, threads: int) -> Features | None: ...
def has_bfloat16(isa: str) -> bool: ...
def evaluate(
    *,
    isa: str,
    features: Features,
    labels: Array | None,
    soft_target: Array | None,
    sample_weight: Float | None,
    weight: Float,
    bias: Float,
    loss: str,
    margin: float,
    smoothing: float,
    label_smoothing: float,
    double_precision: bool,
    threads: int,
    weight_gradient: Float,
    bias_gradient: Float,
) -> tuple[float, float, float]: ...
def move_residuals(
    *,
    isa: str,
    features: Features,
    labels: Array | None,
    soft_target: Array | None,
    sample_weight: Float | None,
    weight: Float,
    bias: Float,
    loss: str,
    margin: float,
    smoothing: float,
    label_smoothing: float,
    double_precision: bool,
    threads: int,
    residual: Float,
    anchor: Float | None,
    curvature: float,
    share: float,
    weight_gradient: Float,
    bias_gradient: Float,
) -> tuple[float, float, float]: ...
def sum_scores(
    *,
    isa: str,
    features: Features,
    labels: Array | None,
    soft_target: Array | None,
    sample_weight: Float | None,
    scores: Array,
    bias: Float,
    loss: str,
    margin: float,
    smoothing: float,
    label_smoothing: float,
    threads: int,
    bias_gradient: Float,
) -> tuple[float, float, float]: ...
def scores(
    isa: str, features: Features, first: int, last: int, weight: Float, bias: Float, threads: int, out: Array
) -> None: ...
def gram(
    *,
    isa: str,
    features: Features,
    sample_weight: Float | None,
    double_precision: bool,
    threads: int,
    out: Float,
) -> None: ...
def coordinate_descent(
    *,
    weight: Float,
    gradient: Float,
    class_matrix: Float,
    feature_matrix: Float,
    l1: Float,
    l2: Float,
    low_rank: Float,
    low_rank_scaled: Float,
    tolerance: float,
    most_sweeps: int,
    seconds: float,
    step: Float,
) -> int: ...
def descend_rows(
    *,
    isa: str,
    features: Array,
    indices: Array | None,
    starts: Array | None,
    factors: Array,
    column: Array,
    class_of: Array,
    weight: Float,
    gradient: Float,
    l1: Float,
    l2: Float,
    tolerance: float,
    most_sweeps: int,
    seconds: float,
    step: Float,
) -> int: ...
def ascend(
    *,
    isa: str,
    features: Features,
    labels: Array | None,
    soft_target: Float | None,
    share: Float,
    squares: Float,
    loss: str,
    margin: float,
    label_smoothing: float,
    l2: float,
    bias_step: float,
    weight: Array,
    bias: Float,
    residual: Float,
    pause: Array,
    waiting: Array,
    order: Array,
    still: float,
    sweeps: int,
    seed: int,
) -> float: ...
def has_instruction_set(name: str) -> bool: ...
def instruction_set() -> str: ...
def head(
    *,
    isa: str,
    number: str,
    input: Array,
    weight: Array,
    bias: Array | None,
    class_scale: Array | None,
    class_weight: Array | None,
    positive_weight: Array | None,
    labels: Array | None,
    first_class: int,
    all_classes: int,
    soft_target: Array | None,
    target_score: Array | None,
    slope: Array | None,
    loss: str,
    margin: float,
    label_smoothing: float,
    softcap: float,
    z_loss: float,
    state: Array,
    state_known: bool,
    upstream: Array | None,
    lse_upstream: Array | None,
    input_gradient: Array | None,
    weight_gradient: Array | None,
    bias_gradient: Array | None,
    plan: str,
    room: int,
    threads: int,
) -> None: ...
def score_loss(
    *,
    isa: str,
    number: str,
    scores: Array,
    labels: Array | None,
    soft_target: Array | None,
    class_weight: Array | None,
    label_smoothing: float,
    softcap: float,
    z_loss: float,
    state: Array,
    state_known: bool,
    upstream: Array | None,
    lse_upstream: Array | None,
    gradient: Array | None,
    threads: int,
) -> None: ...
def begin_fit_memory() -> object: ...
def end_fit_memory(before: object) -> None: ...
def guard_mapping(address: int, bytes: int) -> int: ...
def unguard_mapping(number: int) -> bool: ...
def is_mapping_damaged(number: int) -> bool: ...
