# SPDX-License-Identifier: MIT
# Completion of vnic for bash (bash(1), "Programmable Completion"). Needs nothing but bash itself.
# tests/completion holds the options below against what 'vnic COMMAND --help' says.

# The options of a command, one list each: with a value, and without.
_vnic_options()
{
	case $1 in
	host)
		echo --name --mtu --queues --mac --offload --netns --host --service --capture --filter --for --user
		echo --tap --private --verbose --json --help
		;;
	wire)
		echo --queues --mtu --offload --impair --impair-forward --impair-backward --speed --for --user
		echo --pin --restart --json --help
		;;
	exec)
		echo --name --mtu --queues --mac --netns --user
		echo --tap --private --help
		;;
	show)
		echo --netns
		echo --json --help
		;;
	add)
		echo --owner --group --queues --mtu --mac --netns
		echo --tap --up --json --help
		;;
	delete)
		echo --netns
		echo --force --json --help
		;;
	features)
		echo
		echo --json --help
		;;
	*)
		echo
		;;
	esac
}

# What the ports of a wire begin with. bash takes a ':' for a word of its own.
_vnic_ports()
{
	[[ $1 == *:* || ${COMP_WORDS[COMP_CWORD - 1]} == : ]] && return
	mapfile -t COMPREPLY < <(compgen -W "tun: tap: udp: tcp: tcp-listen: exec: unix: unix-listen: pcap: discard:" -- "$1")
	compopt -o nospace 2>/dev/null
}

# Names as 'ip netns' has them.
_vnic_namespaces()
{
	local path

	for path in "${VNIC_NETNS_DIRECTORY:-/run/netns}"/*; do
		[[ -e $path ]] && printf '%s\n' "${path##*/}"
	done
}

# TUN and TAP interfaces: $1 is the tool, $2 the namespace or empty.
_vnic_interfaces()
{
	"$1" show ${2:+--netns "$2"} 2>/dev/null | {
		local name rest

		read -r rest # the titles, or the sentence that there are none
		while read -r name rest; do
			printf '%s\n' "$name"
		done
	}
}

# Offers the lines of its input that begin with $1. Not by compgen -W: that expands what it is given,
# and names of interfaces are chosen by strangers.
_vnic_offer()
{
	local line

	while IFS= read -r line; do
		[[ $line == "$1"* ]] && COMPREPLY+=("$(printf %q "$line")")
	done
}

_vnic_value()
{
	local tool=$1 namespace=$2 option=$3 current=$4 words=

	case $option in
	--netns)
		if [[ $current != */* ]]; then
			_vnic_offer "$current" < <(_vnic_namespaces)
			return
		fi
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$current")
		;;
	--capture)
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$current")
		;;
	--name) _vnic_offer "$current" < <(_vnic_interfaces "$tool" "$namespace") ;;
	--owner | --user) mapfile -t COMPREPLY < <(compgen -u -- "$current") ;;
	--group) mapfile -t COMPREPLY < <(compgen -g -- "$current") ;;
	--host) words=all ;;
	--service) words="all none echo discard chargen http iperf3" ;;
	--mtu) words="1280 1500 9000 65520" ;;
	--queues) words="1 2 4 8" ;;
	--for) words="10s 1m 1h" ;;
	--offload) words="on off csum csum,tso4,tso6" ;;
	--impair*) words="loss=1% delay=20ms rate=100mbit" ;;
	--speed) words="1 10 max" ;;
	--filter) words="arp icmp icmp6 ip ip6 tcp udp" ;;
	esac
	[[ $words ]] && mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}

# The words behind "--" are a command line of their own.
_vnic_command()
{
	local first=$1 current=${COMP_WORDS[COMP_CWORD]}

	if declare -F _command_offset >/dev/null; then # of the package bash-completion
		_command_offset "$first"
	elif ((COMP_CWORD == first)); then
		mapfile -t COMPREPLY < <(compgen -c -- "$current")
	else
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$current")
	fi
}

_vnic()
{
	local commands="host wire exec show add delete features"
	local tool=${COMP_WORDS[0]} current=${COMP_WORDS[COMP_CWORD]} previous=
	local command=${COMP_WORDS[1]} namespace= with_value without_value
	local i operands=0 word

	COMPREPLY=()
	if ((COMP_CWORD == 1)); then
		mapfile -t COMPREPLY < <(compgen -W "$commands help --help --version" -- "$current")
		return
	fi
	if [[ $command == help ]]; then
		((COMP_CWORD == 2)) &&
			mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$current")
		return
	fi
	{
		read -r with_value
		read -r without_value
	} < <(_vnic_options "$command")

	# bash makes three words of "--netns=blue".
	for ((i = 2; i < COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		case $word in
		--)
			[[ $command == host || $command == exec ]] && _vnic_command $((i + 1))
			return
			;;
		-*)
			[[ " $with_value " == *" $word "* ]] || continue
			[[ ${COMP_WORDS[i + 1]} == = ]] && ((i += 1))
			((i += 1))
			if ((i < COMP_CWORD)); then
				[[ $word == --netns ]] && namespace=${COMP_WORDS[i]}
			else
				previous=$word
			fi
			;;
		*) ((operands += 1)) ;;
		esac
	done
	[[ $current == = ]] && current=
	if [[ $previous ]]; then
		_vnic_value "$tool" "$namespace" "$previous" "$current"
		return
	fi
	if [[ $current == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$with_value $without_value" -- "$current")
		return
	fi
	if [[ $command == wire ]]; then
		_vnic_ports "$current"
		return
	fi
	if [[ ($command == show || $command == delete) && $operands -eq 0 ]]; then
		_vnic_offer "$current" < <(_vnic_interfaces "$tool" "$namespace")
	fi
}

complete -F _vnic vnic
