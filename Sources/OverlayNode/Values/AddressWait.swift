import OverlayDriver
import OverlayModel

/// Wait of a call for an address that other hosts may give up.
struct AddressWait: Sendable {
    /// Pause before they are asked again.
    static let askAgain = Interval.milliseconds(200)

    var subnet: SubnetID
    /// The address that `--ip` names; nil where any will do.
    var wanted: IPAddress?
    var asked: Instant
    var until: Instant
    /// What the call fails with in the end.
    var error: DriverError

    /// Time at which the wait is looked at next.
    var next: Instant { min(until, asked + Self.askAgain) }
}

/// What a call for any address was told when it asked for a block.
struct Scarcity: Sendable {
    var error: DriverError
    /// How long others may be asked; nil where nobody who could decide is there.
    var until: Instant?
    var asked: Instant?
}
