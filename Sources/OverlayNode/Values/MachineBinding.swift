public import OverlayModel

/// Ties a state to the host that it was made on (rule R6): two hosts with one state would be one node to all others.
public enum MachineBinding: Hashable, Sendable {
    /// The host has no id to tell it from others.
    case unknown
    /// It is the host that the state was made on.
    case same
    /// It is the first start, or the new id was accepted: to be written before the state is used.
    case new(StoreWrite)
    /// The state is another host's.
    case copied

    /// - Parameters:
    ///   - machine: The id of this host; what is no id counts as none.
    ///   - isAccepted: Whether the operator says that the id was changed on purpose.
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

    /// 32 hexadecimal digits, and not all of them 0 (machine-id(5)); a host that was never booted may have `uninitialized` there.
    private static func normal(_ text: String) -> String? {
        let digits = text.lowercased().utf8.filter { $0 != 10 && $0 != 13 && $0 != 32 && $0 != 45 }
        guard digits.count == 32, digits.allSatisfy({ (48...57).contains($0) || (97...102).contains($0) }),
            digits.contains(where: { $0 != 48 })
        else { return nil }
        return String(decoding: digits, as: UTF8.self)
    }
}
