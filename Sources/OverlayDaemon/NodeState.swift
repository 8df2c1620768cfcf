import Logging
import OverlayCrypto
import OverlayLinux
import OverlayModel
import OverlayNode
import OverlayStore

/// State directory of a node, opened: its rows, its identity, and the number of this start.
struct NodeState {
    let store: StateStore
    let rows: StoredRows
    let key: NodeKey
    /// Number of this start, which no earlier one had: packet counters begin anew with it.
    let boot: UInt32
    let epoch: UInt32

    /// - Throws: ``StartError`` or `StateInUse`, with the cause and the way out.
    static func open(_ configuration: Configuration, _ logger: Logger) async throws -> NodeState {
        do {
            let store = try StateStore(directory: configuration.stateDirectory, schema: StateSchema.present)
            let rows = try await store.load()
            // Before anything of it is used, and before a peer hears of it.
            try await checkMachine(configuration, rows, store, logger)
            return try await identified(rows, store)
        } catch let error as StoreError {
            throw StartError(error.text(isStarting: true))
        }
    }

    private static func checkMachine(
        _ configuration: Configuration, _ rows: StoredRows, _ store: StateStore, _ logger: Logger
    ) async throws {
        switch MachineBinding(machine: configuration.machineID(), rows: rows, isAccepted: configuration.acceptsNewMachine) {
        case .same: break
        case .new(let write): try await store.commit([[write]])
        case .unknown:
            logger.warning(
                "no id in /etc/machine-id: a copy of the state directory on another host would not be noticed")
        case .copied:
            throw StartError(
                "\(configuration.stateDirectory) was copied from another host: two hosts with one state would hand out the same addresses. "
                    + "Remove the directory and let this host join anew; or, if the machine id of this host was changed on purpose, run "
                    + "`swift-overlay daemon --accept-new-machine-id` once")
        }
    }

    /// The node's key, made on first start, and the boot number, raised and stored before anything uses it.
    private static func identified(_ rows: StoredRows, _ store: StateStore) async throws -> NodeState {
        let report = rows[.node] ?? [:]
        let key: NodeKey
        var writes: [StoreWrite] = []
        if let bytes = report[Array("key".utf8)] {
            guard let stored = NodeKey(privateBytes: bytes) else {
                throw StartError("the node key in the state directory is damaged")
            }
            key = stored
        } else {
            key = NodeKey()
            writes.append(.put(.node, key: Array("key".utf8), value: key.privateBytes))
        }
        // A damaged number must not start anew: packet counters, and with them nonces, would be used twice.
        let boot = try number("boot", report) ?? 0
        let epoch = try number("epoch", report) ?? 1
        guard boot < 0xFF_FFFF else {
            throw StartError("this node was started too often for its key; remove the state directory and join anew")
        }
        writes.append(.put(.node, key: Array("boot".utf8), value: (boot + 1).wireBytes))
        try await store.commit([writes])
        return NodeState(store: store, rows: rows, key: key, boot: boot + 1, epoch: epoch)
    }

    private static func number(_ name: String, _ report: [[UInt8]: [UInt8]]) throws -> UInt32? {
        guard let bytes = report[Array(name.utf8)] else { return nil }
        guard let value = try? UInt32(wire: bytes) else {
            throw StartError(
                "the \(name) counter in the state directory is damaged; remove the directory and let this node join anew")
        }
        return value
    }
}
