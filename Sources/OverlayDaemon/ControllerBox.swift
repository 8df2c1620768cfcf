import NIOConcurrencyHelpers

/// Where the transport finds the controller, which is made after it: the port must be known first, as it is part of the node's identity.
final class ControllerBox: Sendable {
    private let box = NIOLockedValueBox<NodeController?>(nil)

    var controller: NodeController? { box.withLockedValue { $0 } }
    func set(_ controller: NodeController) { box.withLockedValue { $0 = controller } }
}
