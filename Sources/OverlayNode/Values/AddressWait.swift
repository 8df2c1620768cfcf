import OverlayDriver
import OverlayModel

/// Wait of a call for an address that other hosts may give up.
struct AddressWait: Sendable {
    /// Pause before the others are asked again.
    static let askAgain = Interval.milliseconds(200)

    var subnet: SubnetID
    /// The address that `--ip` names; nil where any will do.
    var wanted: IPAddress?
    var asked: Instant
    var until: Instant
    /// Error of the call if the wait comes to nothing.
    var error: DriverError

    /// Time at which the wait is looked at next.
    var next: Instant { min(until, asked + Self.askAgain) }
}

/// Refusal that a call for any address got when it asked for a block.
struct Scarcity: Sendable {
    var error: DriverError
    /// Time until which others may be asked for addresses; nil where the writer, who decides, is away.
    var until: Instant?
    var asked: Instant?
}
