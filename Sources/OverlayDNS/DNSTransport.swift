/// Transport that Docker's resolver is asked by.
public enum DNSTransport: Hashable, Sendable {
    case udp
    case tcp
}
