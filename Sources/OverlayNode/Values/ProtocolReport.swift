/// Versions of the protocol between nodes, as `swift-overlay status` shows them.
public struct ProtocolReport: Codable, Hashable, Sendable {
    /// Version in use.
    public var inUse: UInt16
    /// Oldest and newest version that this node speaks.
    public var oldest: UInt16
    public var newest: UInt16
    /// Names of the members that do not speak the newest version of this node.
    public var older: [String]
    /// Things that wait until every member speaks a later version, in words.
    public var heldBack: [String]

    /// Text for a user.
    public var text: String {
        let speaks = oldest == newest ? "\(newest)" : "\(oldest) to \(newest)"
        guard inUse < newest else { return "\(inUse) in use, speaks \(speaks)" }
        let reason = older.isEmpty ? "every member speaks \(newest), used soon" : "held back by \(older.joined(separator: ", "))"
        return "\(inUse) in use, speaks \(speaks); \(reason); until then without \(heldBack.joined(separator: ", "))"
    }
}
