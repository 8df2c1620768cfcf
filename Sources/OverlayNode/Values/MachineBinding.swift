public import OverlayModel

/// Binding of a state to the host that it was made on (rule R6). Two hosts with one state would be one node to all others.
public enum MachineBinding: Hashable, Sendable {
    /// The host has no machine id.
    case unknown
    /// This host is the one that the state was made on.
    case same
    /// First start, or the new machine id was accepted. The row must be written before the state is used.
    case new(StoreWrite)
    /// The state was made on another host.
    case copied

    /// - Parameters:
    ///   - machine: Machine id of this host; a malformed one counts as none.
    ///   - rows: The store's content.
    ///   - isAccepted: True if the operator says that the id was changed on purpose.
    public init(machine: String?, rows: StoredRows, isAccepted: Bool) {
        guard let machine = machine.flatMap(Self.normal) else {
            self = .unknown
            return
        }
        let key = Array("machine".utf8)
        let known = rows[.node]?[key]
        if known == Array(machine.utf8) {
            self = .same
        } else if known == nil || isAccepted {
            self = .new(.put(.node, key: key, value: Array(machine.utf8)))
        } else {
            self = .copied
        }
    }

    /// Machine id as 32 lower-case hexadecimal digits, not all of them 0 (machine-id(5)); nil for anything else, such as
    /// `uninitialized`.
    private static func normal(_ text: String) -> String? {
        let digits = text.lowercased().utf8.filter { $0 != 10 && $0 != 13 && $0 != 32 && $0 != 45 }
        guard digits.count == 32, digits.allSatisfy({ (48...57).contains($0) || (97...102).contains($0) }),
            digits.contains(where: { $0 != 48 })
        else { return nil }
        return String(decoding: digits, as: UTF8.self)
    }
}
