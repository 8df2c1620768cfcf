/// Things of a network that exist, and are not as they were made.
///
/// The differences have no names here: flags, MTU, bridge, up or down. ``KernelOperation/createNetwork(_:)`` and
/// ``KernelOperation/mendPort(_:name:_:mtu:)`` adopt what is there, and set all of it.
public struct Alteration: Hashable, Sendable {
    /// True if the bridge or the VXLAN device differs.
    public var hasDevices: Bool
    /// Names of ports that differ.
    public var ports: Set<String>

    /// Creates an alteration of the devices, or of ports.
    public init(hasDevices: Bool = false, ports: Set<String> = []) {
        self.hasDevices = hasDevices
        self.ports = ports
    }

    /// True if nothing differs.
    public var isEmpty: Bool { !hasDevices && ports.isEmpty }
}
